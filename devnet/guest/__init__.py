"""What stands for a Nitro-capable instance's own software: init, systemctl, dnf, nitro-cli.

Each runs as a process inside one simulated instance, started through a wrapper on that instance's
PATH. Nothing here is the product; all of it is a simulation and says so where it can.
"""
