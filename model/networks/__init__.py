"""The networks: an image to a ."""
