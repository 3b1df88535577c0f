"""The devnet's AWS: an honest EC2 in front of moto, and a process for every instance."""
