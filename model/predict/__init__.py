"""A picture of any size to what a network says of it, at the picture's size."""
