"""Storms on Marlin's MarketV1: its model, how nodes tell of it, its owners, and what must hold."""
