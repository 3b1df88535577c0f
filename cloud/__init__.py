"""AWS: instances, mailbox, catalog, capacity, setup. Knows no chain and no image contents."""
