"""The scenarios: what there is, and what runs."""
