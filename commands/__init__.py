"""The command groups of the CLI, one module a group; each imports what is heavy when it runs."""
