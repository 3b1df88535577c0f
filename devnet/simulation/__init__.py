"""A market, a cloud and their faults in one process, under a clock that nobody waits for.

The agent's own code runs here unchanged against models of its ports. Time is virtual: days pass
in milliseconds, the same seed gives the same run, and the agent can be killed at any await.
"""
