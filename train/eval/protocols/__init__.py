"""Benchmarks that others publish figures on, measured as they measure: `david eval --benchmark NAME --root DIR`."""
