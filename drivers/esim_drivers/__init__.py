"""Everything that touches a device or imitates one. Loaded through the entry point group ``esim_bench.drivers``."""
