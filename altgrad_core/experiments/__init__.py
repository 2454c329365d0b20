"""Many runs: a matrix of cells, the processes that train them, and what they show together."""
