"""Raw data to shards and back: `david.pack.read` gives the samples of a shard set."""
