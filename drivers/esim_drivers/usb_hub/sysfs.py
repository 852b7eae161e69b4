"""What the kernel tells of the ports of hubs, and its switch: ``<hub>:1.0/<hub>-port<n>/disable`` (Linux 6.0)."""

from __future__ import annotations

import re
from pathlib import Path

_PORT = re.compile(r"^(usb\d+|\d+-\d+(?:\.\d+)*)-port(\d+)$")


def port_folder(root: Path, hub: str, port: int) -> Path:
    """Return the folder of a port, whether it is there or not."""
    # A root hub's interface is called after its bus: usb1 has 1-0:1.0.
    interface = f"{hub.removeprefix('usb')}-0:1.0" if hub.startswith("usb") else f"{hub}:1.0"
    return root / "bus" / "usb" / "devices" / interface / f"{hub}-port{port}"


def peer_of(root: Path, hub: str, port: int) -> tuple[str, int] | None:
    """Return the port of the other half (USB 2 and USB 3) of the same socket: (hub, port); None when unknown."""
    link = port_folder(root, hub, port) / "peer"
    try:
        found = _PORT.match(link.readlink().name)
    except OSError:
        return None
    return (found[1], int(found[2])) if found else None


def disable_file(root: Path, hub: str, port: int) -> Path | None:
    """Return the file that switches a port, where this kernel has it."""
    path = port_folder(root, hub, port) / "disable"
    return path if path.exists() else None


def write_disable(path: Path, off: bool) -> None:
    """Switch a port off or on, and wait until the kernel has done it. Raises OSError."""
    path.write_text("1" if off else "0")


def read_disable(path: Path) -> bool:
    """Tell whether a port is switched off. Raises OSError."""
    return path.read_text().strip() == "1"
