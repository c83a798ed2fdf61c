"""Pure numbers: moments in, intervals and p-values out. No Ibis, no declarations."""
