"""How good a prediction is: metrics by name, as pure functions."""
