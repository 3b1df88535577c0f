"""The storm's chain as nodes show it: JSON-RPC, nonces, fees, a pool that forgets.

With these the agent's whole chain side is in the storm: endpoints and failover, heads, events,
reads at a block, the wallet's one nonce sequence and its journal. What is left out is HTTP itself.
"""
