"""Blocks and files by their CIDs, from sources that are believed in nothing."""
