"""A study: search space, ask and tell, budget, pruning, agents, outcome."""
