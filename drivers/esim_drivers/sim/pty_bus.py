"""A USB bus as sysfs and /dev show it, for modems on ptys: names that stay, names that move.

``root/bus/usb/devices/1-1.3:1.2/ttyUSB7`` is what sysfs has for a serial interface, ``root/dev/ttyUSB7`` its node, here
a link to the pty. Each enumeration takes the next number, as the kernel does while somebody holds the old node open.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

from esim_bench.errors import ConfigError

_INTERFACE = re.compile(r"^\d+-\d+(?:\.\d+)*:\d+\.\d+$")


class PtyBus:
    """A folder that looks like sysfs. Give ``devices`` and ``dev`` to whoever resolves ``usb:`` names."""

    def __init__(self, root: Path) -> None:
        self.devices = root / "bus" / "usb" / "devices"
        self.dev = root / "dev"
        self._next = 0
        for folder in (self.devices, self.dev):
            folder.mkdir(parents=True, exist_ok=True)

    def plug(self, interface: str, node: str) -> str:
        """Have an interface (``1-1.3:1.2``) appear with a tty on it; return the tty's name. Raises ConfigError."""
        if not _INTERFACE.match(interface):
            raise ConfigError("not a USB interface", expected="1-1.3:1.2", found=repr(interface))
        self.unplug(interface)
        name = f"ttyUSB{self._next}"
        self._next += 1
        (self.devices / interface.partition(":")[0]).mkdir(exist_ok=True)
        (self.devices / interface / name).mkdir(parents=True)
        (self.dev / name).symlink_to(node)
        return name

    def unplug(self, interface: str) -> None:
        """Have it vanish, and the whole device with it; one that is not there is no error."""
        for entry in (self.devices / interface).glob("tty*"):
            with contextlib.suppress(OSError):
                (self.dev / entry.name).unlink()
        shutil.rmtree(self.devices / interface, ignore_errors=True)
        device = interface.partition(":")[0]
        if not any(self.devices.glob(f"{device}:*")):
            shutil.rmtree(self.devices / device, ignore_errors=True)


def link_to(link: Path, target: str) -> None:
    """Have a symbolic link point to a target, replacing what it pointed to at once."""
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    fresh.symlink_to(target)
    fresh.replace(link)
