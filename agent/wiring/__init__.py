"""From a configuration to an agent that can run over the real world."""
