"""The device side of RSP."""
