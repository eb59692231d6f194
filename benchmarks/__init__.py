"""Measurements of speed: `python -m benchmarks.steps --help`."""
