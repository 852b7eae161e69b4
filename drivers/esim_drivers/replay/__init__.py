"""A recorded journal, served as a card that answers as the real one did."""
