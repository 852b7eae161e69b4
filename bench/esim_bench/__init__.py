"""esim-bench: a hardware-in-the-loop bench controller for eSIM form factors. The core; imports no driver."""

__version__ = "0.1.0"
