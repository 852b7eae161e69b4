"""Power by the ports of USB hubs: the kernel's ``disable`` file where there is one, else hub class requests."""
