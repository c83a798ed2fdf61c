"""The engines that Ibis speaks to, and one session of questions to one of them."""
