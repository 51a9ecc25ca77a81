"""The networks, one file a kind, and the parts that they are made of."""
