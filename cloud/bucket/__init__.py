"""The region's bucket: the mailbox of each host and the staged images."""
