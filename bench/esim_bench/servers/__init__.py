"""The network side of RSP: async ASGI apps, called directly or on a socket."""
