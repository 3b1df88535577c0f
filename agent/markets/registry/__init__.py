"""The isolated instances' registry: its reads, its calls, and what the agent sees of them."""
