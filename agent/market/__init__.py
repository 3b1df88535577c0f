"""The on-chain market as types and calls; another contract would be a second adapter here."""
