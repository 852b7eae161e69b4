"""The machine that the doctor examines, and what he finds: files below a root, processes, groups, all to be imitated.

No device is opened; the PC/SC service's socket is connected to and let go, which starts no conversation.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import getpass
import grp
import importlib.util
import os
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

DEVICES: Final = "/sys/bus/usb/devices"
_CONNECT_SECONDS: Final = 2.0
_PLACE: Final = re.compile(r"\d+-\d+(?:\.\d+)*", re.ASCII)
_NODE: Final = re.compile(r"(?:ttyUSB|ttyACM|cdc-wdm|wwan\d+at|hidraw)\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool | None
    """None: it works as it is, and could be better."""
    why: str = ""
    """Why it matters."""
    mend: str = ""
    """The command that mends it."""

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"what": self.what, "ok": self.ok, "why": self.why, "mend": self.mend}


@dataclass(frozen=True, slots=True)
class UsbPart:
    """What the kernel shows of a USB device, as far as the doctor wants to know."""

    place: str
    name: str
    serial: str
    classes: frozenset[str]
    """Of its interfaces, and its own, in hex: 0b readers, 09 hubs."""
    drivers: dict[str, str]
    """The kernel's driver of each interface that has one."""
    ttys: tuple[str, ...]
    autosuspend: bool
    vendor: str
    product_id: str
    node: str
    """``/dev/bus/usb/001/007``."""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def _own_groups() -> Iterator[str]:
    for number in {os.getegid(), *os.getgroups()}:
        with contextlib.suppress(KeyError):
            yield grp.getgrgid(number).gr_name


def _may(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


def _group_of(path: Path) -> str:
    try:
        return grp.getgrgid(path.stat().st_gid).gr_name
    except (KeyError, OSError):
        return "root"


def _connect(path: Path) -> int:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_CONNECT_SECONDS)
        try:
            client.connect(str(path))
        except OSError as exc:
            return exc.errno or -1
    return 0


@dataclass(slots=True)
class Machine:
    """One machine; what a test replaces."""

    root: Path = Path("/")
    uid: int = field(default_factory=os.getuid)
    user: str = field(default_factory=_user)
    groups: frozenset[str] = field(default_factory=lambda: frozenset(_own_groups()))
    """Those of this process: membership counts from the next login on."""
    release: str = field(default_factory=lambda: os.uname().release)
    has_module: Callable[[str], bool] = lambda name: importlib.util.find_spec(name) is not None
    library: Callable[[str], str | None] = ctypes.util.find_library
    pcsc_socket: Path | None = field(
        default_factory=lambda: Path(name) if (name := os.environ.get("PCSCLITE_CSOCK_NAME")) else None
    )
    may: Callable[[Path], bool] = _may
    """Tells whether this process may read and write a file."""
    group_of: Callable[[Path], str] = _group_of
    """Tells which group a file belongs to."""
    connect: Callable[[Path], int] = _connect
    """Connects to a socket and lets it go: 0, or the number of the error."""

    def at(self, path: str) -> Path:
        """Return a path of that machine."""
        return self.root / path.lstrip("/")

    @property
    def systemd(self) -> bool:
        """Tell whether systemd runs it: a container has mostly none."""
        return self.at("/run/systemd/system").exists()

    def processes(self) -> Iterator[tuple[int, str]]:
        """Yield the processes: pid and name."""
        for process in sorted(self.at("/proc").glob("[0-9]*")):
            with contextlib.suppress(OSError):
                yield int(process.name), (process / "comm").read_text(errors="replace").strip()

    def runs(self, *names: str) -> int | None:
        """Return the pid of a process of one of these names."""
        return next((pid for pid, name in self.processes() if name in names), None)

    def nodes_of(self, pid: int) -> list[str]:
        """Return the names of the ports that a process has open; none where we may not look."""
        found = set()
        with contextlib.suppress(OSError):
            for link in self.at(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    name = os.readlink(link).rpartition("/")[2]
                    if _NODE.fullmatch(name):
                        found.add(name)
        return sorted(found)

    def users_of(self, node: str) -> list[str]:
        """Return the processes that have a node open, ``minicom (pid 12)``, without this one."""
        found = []
        for pid, name in self.processes():
            if pid != os.getpid() and node.rpartition("/")[2] in self.nodes_of(pid):
                found.append(f"{name} (pid {pid})")
        return found

    def group(self, name: str) -> tuple[bool, bool]:
        """Tell whether a group exists, and whether the user is named as a member of it, login or not."""
        for line in self._lines("/etc/group"):
            group, _, rest = line.partition(":")
            if group == name:
                return True, self.user in rest.rpartition(":")[2].split(",")
        return False, False

    def _lines(self, path: str) -> list[str]:
        try:
            return self.at(path).read_text(errors="replace").splitlines()
        except OSError:
            return []

    def usb(self) -> list[UsbPart]:
        """Return the USB devices, root hubs left out, sorted by where they hang."""
        folder = self.at(DEVICES)
        try:
            places = sorted(entry.name for entry in folder.iterdir() if _PLACE.fullmatch(entry.name))
        except OSError:
            return []
        return [self._usb(folder, place) for place in places]

    def _usb(self, folder: Path, place: str) -> UsbPart:
        device = folder / place
        interfaces = sorted(folder.glob(f"{place}:*"))
        words = [text for name in ("manufacturer", "product") if (text := _text(device / name))]
        classes = {_text(device / "bDeviceClass"), *(_text(one / "bInterfaceClass") for one in interfaces)}
        drivers = {}
        for one in interfaces:
            with contextlib.suppress(OSError):
                drivers[one.name] = os.readlink(one / "driver").rpartition("/")[2]
        bus, address = _text(device / "busnum"), _text(device / "devnum")
        known = bus.isdecimal() and address.isdecimal()
        return UsbPart(
            place=place,
            name=" ".join(words) or f"{_text(device / 'idVendor')}:{_text(device / 'idProduct')}",
            serial=_text(device / "serial"),
            classes=frozenset(classes),
            drivers=drivers,
            ttys=tuple(sorted(path.name for one in interfaces for path in (*one.glob("tty?*"), *one.glob("tty/tty*")))),
            autosuspend=_text(device / "power/control") == "auto",
            vendor=_text(device / "idVendor"),
            product_id=_text(device / "idProduct"),
            node=f"/dev/bus/usb/{int(bus):03}/{int(address):03}" if known else "",
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
