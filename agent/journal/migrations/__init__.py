"""The journal's schema, one step a file, from the first version on (alembic)."""
