"""The reference contracts of the protocol and their compiled artifacts."""
