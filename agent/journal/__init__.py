"""What happened, on disk: events, launches, the operator's orders, transactions. It may be lost."""
