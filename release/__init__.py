"""What makes something to install of the tree: man page, packages, sums. Not installed itself."""
