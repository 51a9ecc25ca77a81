"""Which samples a step takes, and how each is augmented: pure functions of seed, epoch and sample."""
