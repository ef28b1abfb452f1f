"""Measurements: how to run them is in README.md, what came of them in results/."""
