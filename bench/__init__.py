"""Measured figures, side by side: `python -m bench`."""
