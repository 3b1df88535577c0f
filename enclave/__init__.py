"""Enclave images and what proves them: retrieval, measurement, attestation; no chain, no AWS."""
