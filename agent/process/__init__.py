"""What the agent is to a service manager: its log, its start, its reloads, how it ends."""
