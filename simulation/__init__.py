"""Made-up shoppers with a known truth, sent over real HTTP; every trace of them says that they are simulated."""
