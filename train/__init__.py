"""Batch to checkpoint: `david.train.loop.train` carries a recipe and a shard set to a trained run."""
