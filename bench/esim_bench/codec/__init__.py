"""Bytes to values and back. Pure: no I/O, no await, no clock."""
