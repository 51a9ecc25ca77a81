"""Encoded samples of shard sets, from the disk or fetched ahead into a bounded cache, each checked."""
