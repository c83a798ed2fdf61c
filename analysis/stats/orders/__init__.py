"""Statistics of order values: quantiles, histograms, and what revenue is made of."""
