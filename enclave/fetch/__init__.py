"""From an image URL to a verified, measured and kept file."""
