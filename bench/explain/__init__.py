"""`david bench explain`: what training waits for, step by step, and what would change that."""
