"""Rack file, slots, hardware of a slot, bearers."""
