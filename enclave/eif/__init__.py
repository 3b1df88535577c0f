"""Enclave images: read strictly, measured, checked, written."""
