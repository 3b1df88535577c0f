"""The agent: closes the difference between what the chain says should be and what AWS says is."""
