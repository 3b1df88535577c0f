"""Wake, load, decide, apply: nothing else turns."""
