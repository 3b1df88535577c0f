"""Endpoints, head and events, wallet and transactions: everything that talks JSON-RPC."""
