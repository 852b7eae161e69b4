"""Serial ports that are plugged in, and which of them a modem answers on: a harmless question to ports nobody uses."""

from __future__ import annotations

import asyncio
import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from esim_bench import data
from esim_bench.errors import BenchError, InUseError
from esim_bench.events import NullSink
from esim_bench.ports import FoundDevice
from esim_drivers.at.port import AtPort
from esim_drivers.at.serial_link import SerialLink, check_port_name, holders, resolve_port

ANSWER_SECONDS: Final = 2.0
"""How long a port may take to answer the first AT; modems that boot are not waited for."""
_QUESTIONS: Final = {"manufacturer": "AT+CGMI", "model": "AT+CGMM", "revision": "AT+CGMR", "imei": "AT+CGSN"}
_SPEEDS: Final = (115200,)


async def ports(sysfs: Path = Path("/sys"), dev: Path = Path("/dev")) -> list[FoundDevice]:
    """Return the serial ports of USB devices, each asked who is there. Nothing that is in use is opened."""
    found = _usb_ports(sysfs, dev)
    return list(await asyncio.gather(*(_asked(port) for port in found)))


async def port(name: str) -> FoundDevice:
    """Return one port, by its name, asked who is there. Raises ConfigError for what is no name of a port."""
    checked = check_port_name(name)
    return await _asked(FoundDevice("port", checked, {"driver": "at", "port": checked}, paths=(resolve_port(checked),)))


def modules(found: Sequence[FoundDevice]) -> list[FoundDevice]:
    """Make one device of the ports of each USB device where a modem answered; the first that did is its port."""
    by_place: dict[str, FoundDevice] = {}
    rest: list[FoundDevice] = []
    for one in found:
        if one.kind == "module" and one.usb is not None and one.usb in by_place:
            first = by_place[one.usb]
            names = f"{first.details.get('other ports', '')} {one.table['port']}".strip()
            by_place[one.usb] = _changed(first, details={**first.details, "other ports": names})
        elif one.kind == "module":
            by_place[one.usb or one.name] = one
        else:
            rest.append(one)
    places = {one.usb for one in by_place.values() if one.usb}
    for one in rest:
        if one.usb in places and one.usb is not None:
            first = by_place[one.usb]
            names = f"{first.details.get('other ports', '')} {one.table['port']}".strip()
            by_place[one.usb] = _changed(first, details={**first.details, "other ports": names})
    return [*by_place.values(), *(one for one in rest if one.usb not in places)]


def _changed(one: FoundDevice, **changes: object) -> FoundDevice:
    values = {name: getattr(one, name) for name in FoundDevice.__dataclass_fields__}
    return FoundDevice(**{**values, **changes})


def _usb_ports(sysfs: Path, dev: Path) -> list[FoundDevice]:
    found = []
    for interface in sorted(glob.glob(str(sysfs / "bus/usb/devices/*:*"))):
        ttys = [*Path(interface).glob("ttyUSB*"), *Path(interface).glob("tty/tty*")]
        for tty in sorted(ttys, key=lambda path: path.name):
            device = Path(interface).parent / Path(interface).name.partition(":")[0]
            text = {name: _text(device / name) for name in ("manufacturer", "product", "serial")}
            name = " ".join(part for part in (text["manufacturer"], text["product"]) if part) or tty.name
            found.append(
                FoundDevice(
                    "port",
                    name,
                    {"driver": "at", "port": f"usb:{Path(interface).name}"},
                    usb=Path(interface).name.partition(":")[0],
                    serial=text["serial"] or None,
                    paths=(str(dev / tty.name),),
                )
            )
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _users(path: str) -> list[str]:
    # The other end of a pseudo terminal may have this one open too: there the lock tells alone.
    return [] if os.path.realpath(path).startswith("/dev/pts/") else holders(path)


async def _asked(found: FoundDevice) -> FoundDevice:
    held = _users(found.paths[0])
    if held:
        return _changed(found, trouble=f"in use by {', '.join(held)}: end that program, or wait for it")
    try:
        link = SerialLink(found.paths[0], baud=_SPEEDS[0])
    except InUseError as exc:
        return _changed(found, trouble=str(exc))
    except BenchError as exc:
        return _changed(found, trouble=str(exc))
    said: dict[str, str] = {}
    asked = AtPort(link, NullSink())
    try:
        await asked.synchronise(ANSWER_SECONDS)
        for name, line in _QUESTIONS.items():
            answer = await asked.command(line, ANSWER_SECONDS)
            if answer.ok and answer.lines:
                said[name] = answer.lines[0].rpartition(":")[2].strip().strip('"')
    except BenchError as exc:
        return _changed(found, details={"answers": "no"}, trouble=None if not said else str(exc))
    finally:
        asked.close()
    module = known_module(said)
    if module is not None:
        said["module"] = module
    name = " ".join(part for part in (said.get("manufacturer"), said.get("model")) if part) or found.name
    return _changed(found, kind="module", name=name, details=said)


def known_module(said: dict[str, str]) -> str | None:
    """Return the row of hw/modules that fits what a module says of itself best; None where none does."""
    model = said.get("model", "").upper()
    best: tuple[int, str] | None = None
    for name in data.module_names():
        dialect = data.module(name)
        row = dialect.model.upper()
        if model and (row in model or model in row):
            fit = (len(row), name)
            best = max(best, fit) if best is not None else fit
    return best[1] if best is not None else None
