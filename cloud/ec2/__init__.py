"""Instances: where they fit, what they cost, launched once, found again by their tags."""
