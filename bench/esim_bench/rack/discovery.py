"""What is plugged in: all drivers look side by side, and what belongs together is told together."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Final

from esim_bench.errors import BenchError, ConfigError
from esim_bench.ports import DRIVER_GROUP, DiscoveringDriver, FoundDevice, PortProbingDriver, load_driver

LIMIT: Final = 20.0
"""Seconds that one driver may look."""
ORDER: Final = ("module", "reader", "sniffer", "supply", "relay", "mux", "hub", "port")
_USB: Final = re.compile(r"^(?:usb:)?(\d+-\d+(?:\.\d+)*)")


@dataclass(frozen=True, slots=True)
class Found:
    """One device, and what goes with it."""

    device: FoundDevice
    parts: tuple[FoundDevice, ...] = ()
    """What else is the same USB device, or a part of the same module."""
    feeds: FoundDevice | None = None
    """The hub whose port it hangs on, where that hub switches ports."""
    port: int | None = None
    """That port."""

    @property
    def power(self) -> dict[str, Any] | None:
        """Return the power table that would switch the port it hangs on."""
        if self.feeds is None or self.port is None:
            return None
        return {**self.feeds.table, "port": self.port}


@dataclass(slots=True)
class Discovery:
    """All that was found, and which drivers could not look, and why."""

    found: list[Found] = field(default_factory=list)
    troubles: dict[str, str] = field(default_factory=dict)


async def discover(extra_ports: Sequence[str] = ()) -> Discovery:
    """Look around with every installed driver; one that fails or hangs says so and holds up no other.

    ``extra_ports``: ports that nothing lists, by name. Raises ConfigError for a name that is none.
    """
    result = Discovery()
    names = sorted(point.name for point in entry_points(group=DRIVER_GROUP))
    looks = await asyncio.gather(*(_look(name, result) for name in names))
    devices = [device for look in looks for device in look]
    if extra_ports:
        driver = load_driver("at")
        if not isinstance(driver, PortProbingDriver):
            raise ConfigError("the driver cannot ask ports", expected="a PortProbingDriver", found="at")
        devices += [await driver.probe_port(port) for port in extra_ports]
    result.found = group(devices)
    return result


async def _look(name: str, result: Discovery) -> Sequence[FoundDevice]:
    try:
        driver = load_driver(name)
        if not isinstance(driver, DiscoveringDriver):
            return ()
        async with asyncio.timeout(LIMIT):
            return await driver.discover()
    except BenchError as exc:
        result.troubles[name] = str(exc)
    except TimeoutError:
        result.troubles[name] = f"did not end within {LIMIT:g} s"
    except ImportError as exc:
        result.troubles[name] = f"cannot be loaded: {exc}"
    return ()


def group(devices: Sequence[FoundDevice]) -> list[Found]:
    """Put together what is one USB device, and tell which hub port feeds it; modules first, bare ports last."""
    hubs = {place: device for device in devices if device.kind == "hub" and (place := place_of(device)) is not None}
    by_place: dict[str, list[FoundDevice]] = {}
    alone: list[FoundDevice] = []
    for device in devices:
        place = place_of(device)
        # A reader with two cards is two readers to the service, and two slots of a rack.
        if place is None or device.kind in ("hub", "reader"):
            alone.append(device)
        else:
            by_place.setdefault(place, []).append(device)
    found = [Found(device) for device in alone]
    for members in by_place.values():
        first, *parts = sorted(members, key=lambda device: ORDER.index(device.kind))
        found.append(Found(first, tuple(parts)))
    found = [_fed(one, hubs) for one in found]
    return sorted(found, key=lambda one: (ORDER.index(one.device.kind), place_of(one.device) or "", one.device.name))


def place_of(device: FoundDevice) -> str | None:
    """Return where a device hangs: bus and ports, ``1-1.3``."""
    matched = _USB.match(device.usb or "")
    return matched[1] if matched else None


def _fed(one: Found, hubs: dict[str, FoundDevice]) -> Found:
    place = place_of(one.device)
    if place is None or one.device.kind == "hub":
        return one
    parent, dot, port = place.rpartition(".")
    if not dot:
        return one
    hub = hubs.get(parent)
    return Found(one.device, one.parts, hub, int(port)) if hub is not None else one
