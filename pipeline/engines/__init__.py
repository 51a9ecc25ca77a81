"""Encoded samples to batches: on the CPU, or on a GPU by way of DALI."""
