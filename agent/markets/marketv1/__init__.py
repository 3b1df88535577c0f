"""Marlin's MarketV1: its arithmetic, its metadata, its reads and calls, its rate cards."""
