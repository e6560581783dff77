"""Measurements: `python -m benchmarks` for speed, and the longer programs beside it, each run by its own name."""
