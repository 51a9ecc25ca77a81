"""What happened, written down for people and for a run to go on from."""
