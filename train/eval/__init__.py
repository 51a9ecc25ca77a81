"""How good a prediction is: metrics as pure functions, and the walk over a split that averages them."""
