"""The devnet's IPFS: a block store and a trustless gateway that misbehaves on demand."""
