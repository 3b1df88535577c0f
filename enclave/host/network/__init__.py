"""The network of one enclave: a process beside the host program, and the host's way to order it."""
