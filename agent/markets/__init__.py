"""Each market's own ABI, reads and calls; what any market says is in agent.market."""
