"""The shard format: samples to bytes and back, and the files that hold them."""
