"""Shards to batches: `loader.Loader`, in an order and with draws that only seed and step decide."""
