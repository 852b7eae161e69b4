"""Sans-IO simulated devices, and the hosts that give them time and delivery."""
