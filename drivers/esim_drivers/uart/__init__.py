"""The debug UART of a module, line by line."""
