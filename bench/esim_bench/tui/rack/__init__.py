"""The rack: a card for each slot."""
