"""The bench's screen: shows what the journals, the run history and the desk tell, and asks for what a person wants.

Nothing here opens a device, and nothing reads a file on the loop: work is done by the desk (``esim_bench.desk``), in
another process; files are read in the watcher's threads.
"""
