"""The devnet's EVM nodes: py-evm over JSON-RPC, or anvil."""
