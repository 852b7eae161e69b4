"""The physical devices that a real slot names in its rack file, as words that two rack files agree on.

``usb:1-1.3:1.2`` stays what it is; a path in /dev or a serial number is also looked up in the kernel's tree of USB
devices, so that a rack file that names a reader by its serial number and one that names it by its place collide. A hub
or a relay board is shared; its port or channel is not.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from esim_bench.rack.model import DriverTable, SlotSpec

SYSFS: Final = Path("/sys")
_PLACES: Final = ("reader", "port", "location", "resource", "usb", "path", "device", "serial")
"""Keys of a table that say which device; the first that is there decides."""
_PARTS: Final = ("port", "channel", "output", "way")
"""Keys that say which part of a device that several slots share."""
_USB: Final = re.compile(r"(?:usb:)?(\d+-\d+(?:\.\d+)*)(:\d+\.\d+)?")
_ADAPTERS: Final = frozenset(("ftdi_sio", "cp210x", "ch341", "pl2303", "ch343", "usbserial_generic"))
"""Kernel drivers of serial adapters: their interfaces belong to devices of their own. A module's are all one device."""


def devices(spec: SlotSpec, root: Path = SYSFS) -> tuple[str, ...]:
    """Return the names of all devices of a slot, sorted, each once; none of a simulated slot.

    A device may have several names: whoever shares one of them means the same device. ``root``: where sysfs is.
    """
    if spec.simulated:
        return ()
    by_modem = spec.modem is not None
    return tuple(sorted({name for table in tables(spec) for name in _names(table, root, by_modem=by_modem)}))


def tables(spec: SlotSpec) -> Iterator[DriverTable]:
    """Return the driver tables of a slot: card, modem, power, and what observes it."""
    for table in (spec.card, spec.modem, spec.power, *spec.observe):
        if table is not None:
            yield table


def names_of(table: DriverTable, root: Path = SYSFS) -> tuple[str, ...]:
    """Return the names of the device of one table alone, sorted."""
    return tuple(sorted(_names(table, root, by_modem=False)))


def _names(table: DriverTable, root: Path, *, by_modem: bool) -> set[str]:
    settings = table.settings()
    place = next((key for key in _PLACES if isinstance(settings.get(key), str)), None)
    if place is None:
        # Without a place it works by the slot's modem; where there is none, by a device that its keys tell somehow.
        known = {f"{table.driver} {json.dumps(settings, sort_keys=True, default=str)}"}
        return known if settings and not by_modem else set()
    part = "".join(
        f" {key} {settings[key]}" for key in _PARTS if key != place and isinstance(settings.get(key), int | str)
    )
    return {name + part for name in _aliases(place, str(settings[place]), root)}


def _aliases(place: str, text: str, root: Path) -> set[str]:
    """Return all names of what a table calls ``text``; the one that was written is always among them."""
    if place == "resource":
        return {f"visa:{text.upper()}"}
    if text.startswith("name:"):
        return {text}
    if text.startswith("serial:") or place == "serial":
        serial = text.removeprefix("serial:")
        found = [f"usb:{one}" for one in _by_serial(serial, root)]
        # Clones share a serial number: then it names none of them.
        return {f"serial:{serial}", *(found if len(found) == 1 else ())}
    if text.startswith("/"):
        # ttyUSB numbers and links move; what they lead to now is the device.
        path = os.path.realpath(text)
        interface = _interface(path, root)
        return {path} if interface is None else {path, *_of_usb(interface, root)}
    match = _USB.fullmatch(text)
    return {text} if match is None else _of_usb(match[1] + (match[2] or ""), root)


def _of_usb(name: str, root: Path) -> set[str]:
    """Return the names of a USB device (``1-1.3``) or of one of its interfaces (``1-1.3:1.2``)."""
    device, _, interface = name.partition(":")
    names = {f"usb:{name}"}
    folder = root / "bus/usb/devices"
    if interface and _link(folder / name / "driver") not in (*_ADAPTERS, ""):
        names.add(f"usb:{device}")
    serial = _text(folder / device / "serial")
    if serial and len(_by_serial(serial, root)) == 1 and (not interface or f"usb:{device}" in names):
        names.add(f"serial:{serial}")
    return names


def _by_serial(serial: str, root: Path) -> list[str]:
    return sorted(
        path.parent.name for path in (root / "bus/usb/devices").glob("*/serial") if serial and _text(path) == serial
    )


def _interface(path: str, root: Path) -> str | None:
    """Return the USB interface, or device, behind a node of /dev; None where there is none."""
    for kind in ("tty", "hidraw", "usbmisc"):
        link = root / "class" / kind / Path(path).name / "device"
        if link.exists():
            for part in reversed(link.resolve().parts):
                if _USB.fullmatch(part):
                    return part
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""


def _link(path: Path) -> str:
    try:
        return os.readlink(path).rpartition("/")[2]
    except OSError:
        return ""
