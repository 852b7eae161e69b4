"""Serial ports that are plugged in, and which of them a modem answers on: a harmless question to ports nobody uses."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from esim_bench import data
from esim_bench.errors import BenchError
from esim_bench.events import NullSink
from esim_bench.ports import FoundDevice
from esim_drivers.at.port import AtPort
from esim_drivers.at.serial_link import SerialLink
from esim_drivers.usbtree import UsbTree, check_port_name, holders, resolve_port

ANSWER_SECONDS: Final = 3.0
"""How long a port may take to answer; modems that boot are not waited for. One that never echoes is known by its third
answer, after three tries of a second."""
_QUESTIONS: Final = {"manufacturer": "AT+CGMI", "model": "AT+CGMM", "revision": "AT+CGMR", "imei": "AT+CGSN"}
_USUAL_SPEED: Final = 115200
_SPEEDS: Final = (_USUAL_SPEED, 921600, 9600)
"""Of UARTs, in the order in which they are tried. A module's own USB port has none: it takes any."""

LeaveAlone = Callable[[FoundDevice], str | None]
"""Tells why a port is not to be asked; None: it may be."""


async def ports(tree: UsbTree, leave_alone: LeaveAlone = lambda port: None) -> list[FoundDevice]:
    """Return the serial ports of USB devices, each asked who is there. Nothing that is in use is opened."""
    return list(await asyncio.gather(*(_asked(port, leave_alone) for port in _usb_ports(tree))))


async def port(name: str, leave_alone: LeaveAlone = lambda port: None) -> FoundDevice:
    """Return one port, by its name, asked who is there.

    Raises ConfigError for what is no name of a port, TransportError when nothing is plugged in there.
    """
    checked = check_port_name(name)
    # What is wired to it has a speed, for all that one knows.
    found = FoundDevice(
        "port",
        checked,
        {"driver": "at", "port": checked},
        paths=(resolve_port(checked),),
        details={"adapter": "named by hand"},
    )
    asked = await _asked(found, leave_alone)
    return replace(asked, details={key: value for key, value in asked.details.items() if key != "adapter"})


def modules(found: Sequence[FoundDevice]) -> list[FoundDevice]:
    """Make one device of the ports of each USB device where a modem answered; the first that did is its port.

    The ports of an adapter with several are wired to different devices: each stays what it is.
    """
    first: dict[str, FoundDevice] = {}
    for one in found:
        if one.kind == "module" and one.usb is not None and not _wired(one):
            first.setdefault(one.usb, one)
    result: list[FoundDevice] = []
    for one in found:
        module = None if one.usb is None or _wired(one) else first.get(one.usb)
        if module is None:
            result.append(one)
        elif module is one:
            others = [other for other in found if other.usb == one.usb and other is not one]
            names = " ".join(str(other.table["port"]) for other in others)
            paths = (*one.paths, *(path for other in others for path in other.paths))
            details = {**one.details, **({"other ports": names} if names else {})}
            result.append(replace(one, details=details, paths=paths))
    return sorted(result, key=lambda one: one.kind != "module")


def _wired(one: FoundDevice) -> bool:
    return "adapter" in one.details


def _usb_ports(tree: UsbTree) -> list[FoundDevice]:
    return [
        FoundDevice(
            "port",
            device.name or tty,
            {"driver": "at", "port": f"usb:{interface.name}"},
            usb=device.place,
            serial=device.serial or None,
            paths=(tree.node(tty),),
            details={"adapter": interface.driver} if interface.adapter else {},
        )
        for device in tree.devices()
        for interface in device.interfaces
        # A name of an interface means its first port.
        for tty in interface.ttys[:1]
    ]


def _users(path: str) -> list[str]:
    # The other end of a pseudo terminal may have this one open too: there the lock tells alone.
    return [] if os.path.realpath(path).startswith("/dev/pts/") else holders(path)


async def _asked(found: FoundDevice, leave_alone: LeaveAlone) -> FoundDevice:
    why = leave_alone(found)
    if why is not None:
        return replace(found, details={**found.details, "asked": "no"}, trouble=why or None)
    held = _users(found.paths[0])
    if held:
        return replace(found, trouble=f"in use by {', '.join(held)}: end that program, or wait for it")
    for speed in _SPEEDS if _wired(found) else (_USUAL_SPEED,):
        try:
            said = await _answers(found.paths[0], speed)
        except BenchError as exc:
            return replace(found, trouble=str(exc))
        if said is not None:
            return _module(found, said, speed)
    return replace(found, details={**found.details, "answers": "no"})


async def _answers(path: str, speed: int) -> dict[str, str] | None:
    """Return what a modem on a port says of itself, None where none answers. Raises DeviceError, RigError: no port."""
    asked = AtPort(SerialLink(path, baud=speed), NullSink())
    said: dict[str, str] = {}
    try:
        await asked.synchronise(ANSWER_SECONDS)
        for name, line in _QUESTIONS.items():
            answer = await asked.command(line, ANSWER_SECONDS)
            if answer.ok and answer.lines:
                said[name] = answer.lines[0].rpartition(":")[2].strip().strip('"')
        if not said.get("model"):
            answer = await asked.command("ATI", ANSWER_SECONDS)
            if answer.ok and answer.lines:
                said["model"] = " ".join(answer.lines[:2])
    except BenchError:
        # Who answers once and then no more is a modem all the same.
        return said or None
    finally:
        if asked.echoed_first:
            # As it was found: others may count on its echo.
            with contextlib.suppress(BenchError):
                await asked.command("ATE1", ANSWER_SECONDS)
        asked.close()
    return said


def _module(found: FoundDevice, said: dict[str, str], speed: int) -> FoundDevice:
    row = known_module(said)
    details = {**found.details, **said, **({"module": row} if row is not None else {})}
    name = " ".join(part for part in (said.get("manufacturer"), said.get("model")) if part) or found.name
    # Without a speed in the rack file the driver takes that of the row.
    expected = (data.module(row).at.baud if row is not None else None) or _USUAL_SPEED
    table = {**found.table, "baud": speed} if _wired(found) and speed != expected else found.table
    return replace(found, kind="module", name=name, table=table, details=details)


def known_module(said: dict[str, str]) -> str | None:
    """Return the row of hw/modules that fits what a module says of itself best; None where none does."""
    model = said.get("model", "").upper()
    best: tuple[int, str] | None = None
    for name in data.module_names():
        row = data.module(name).model.upper()
        if model and (row in model or model in row):
            fit = (len(row), name)
            best = max(best, fit) if best is not None else fit
    return best[1] if best is not None else None
