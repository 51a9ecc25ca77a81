"""A student that learns from teachers: where both look, what they say of it, and how far it is from that."""
