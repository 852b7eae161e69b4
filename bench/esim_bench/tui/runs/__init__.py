"""The runs: history, comparison, trends."""
