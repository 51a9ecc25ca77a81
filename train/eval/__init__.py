"""The walk over a split that measures a network, and what it leaves for people."""
