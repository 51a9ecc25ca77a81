"""Samples, predictions and reports as pictures and pages."""
