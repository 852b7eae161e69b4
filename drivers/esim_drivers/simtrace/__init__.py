"""The sniffer SIMtrace2: hears what a module and its soldered card say to each other."""
