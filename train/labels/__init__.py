"""What a network says of every sample of a shard set, once and for all, as a sidecar: `david label`."""
