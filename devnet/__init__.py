"""A whole local market on one machine. Only silicon is simulated, and the output says so."""
