"""The command line: a thin front."""
