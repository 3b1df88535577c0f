"""What to do: pure functions over frozen values and a time. No I/O, no clock, no logging."""
