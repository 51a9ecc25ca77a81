"""One optimiser step, the same on every rank: gradients, their sum, the optimiser and its schedule."""
