"""JUnit and other renderings of runs; reads store and journals only."""
