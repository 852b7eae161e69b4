"""One slot."""
