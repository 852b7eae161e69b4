"""What keeps each slot of a rack from its devices: nothing plugged in where its file says, no right, somebody else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from esim_bench.rack.devices import names_of, tables
from esim_bench.rack.machine import DEVICES, Finding, Machine, UsbPart
from esim_bench.rack.model import DriverTable, Rack
from esim_bench.rack.reservations import in_words

_USB: Final = re.compile(r"(?:usb:)?(\d+-\d+(?:\.\d+)*)(?::(\d+\.\d+))?", re.ASCII)
_PLACES: Final = ("reader", "port", "location", "usb", "serial")
_SEARCH: Final = "esim-bench rack discover"


def slots(rack: Rack, host: Machine, devices: Sequence[UsbPart]) -> list[Finding]:
    """Look for the devices that the real slots of a rack name; say nothing more of what is as it should be."""
    findings: list[Finding] = []
    for slot in rack.slots:
        if slot.simulated:
            continue
        bad = [finding for table in tables(slot) for finding in _table(slot.name, table, host, devices)]
        findings += bad or [Finding(f"slot {slot.name}: what its tables name is there", True)]
    return findings


def _table(slot: str, table: DriverTable, host: Machine, devices: Sequence[UsbPart]) -> Iterator[Finding]:
    settings = table.settings()
    for key in _PLACES:
        text = settings.get(key)
        if not isinstance(text, str):
            continue
        nodes: list[str] = []
        if key == "serial" or text.startswith("serial:"):
            yield from _by_serial(f"slot {slot}: {table.driver}", text.removeprefix("serial:"), devices)
        elif text.startswith("/"):
            nodes = [text]
        elif (match := _USB.fullmatch(text)) is not None:
            device = next((one for one in devices if one.place == match[1]), None)
            if device is None:
                why = "it is off, or was plugged in elsewhere"
                yield Finding(f"slot {slot}: nothing is plugged in at {match[1]}", False, why, _SEARCH)
            elif match[2] is not None:
                nodes = _ports(host, f"{match[1]}:{match[2]}")
                if not nodes:
                    why = f"{device.name} is there; the kernel has no driver for that interface, or it is another one"
                    yield Finding(f"slot {slot}: no serial port at {text}", False, why, _SEARCH)
        for node in nodes:
            yield from _node(slot, node, host)
        break
    held = in_words(names_of(table, host.at("/sys")))
    if held:
        why = "a run waits for it, or ends with ERROR"
        yield Finding(f"slot {slot}: {table.driver}: {held}", None, why, "esim-bench rack locks shows who has what")


def _ports(host: Machine, interface: str) -> list[str]:
    folder = host.at(DEVICES) / interface
    names = sorted(path.name for path in (*folder.glob("tty?*"), *folder.glob("tty/tty*")))
    return [f"/dev/{name}" for name in names[:1]]


def _node(slot: str, node: str, host: Machine) -> Iterator[Finding]:
    path = host.at(node)
    if not path.exists():
        yield Finding(f"slot {slot}: there is no {node}", False, "names of ports move; usb:... names stay", _SEARCH)
        return
    if not host.may(path):
        mend = "sudo usermod -aG dialout $USER, then log in again"
        yield Finding(f"slot {slot}: you may not open {node}", False, "it belongs to another group", mend)
    users = host.users_of(str(path.resolve()))
    if users:
        why = "a serial port has one user at a time"
        yield Finding(f"slot {slot}: {node} is open in {', '.join(users)}", False, why, "end that program")


def _by_serial(what: str, serial: str, devices: Sequence[UsbPart]) -> Iterator[Finding]:
    found = [one.place for one in devices if one.serial == serial]
    if len(found) > 1:
        why = f"clones share it: {', '.join(found)}"
        yield Finding(f"{what}: several devices have the serial number {serial}", False, why, f"usb:{found[0]} instead")
