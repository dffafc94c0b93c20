"""Plots: each function takes arrays and returns a matplotlib figure."""
