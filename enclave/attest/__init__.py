"""Attestation documents: parsed strictly and verified to AWS's root."""
