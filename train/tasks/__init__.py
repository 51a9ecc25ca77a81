"""What a network is trained to do: which loss compares what."""
