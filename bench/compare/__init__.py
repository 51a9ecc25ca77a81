"""Kept rows side by side."""
