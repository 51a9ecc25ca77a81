"""How good a prediction is: metrics by name in `table.py`, a file of pure functions for each head."""
