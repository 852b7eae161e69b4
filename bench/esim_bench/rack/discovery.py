"""What is plugged in: all drivers look side by side, and what belongs together is told together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from typing import Any, Final

from esim_bench.errors import BenchError, ConfigError
from esim_bench.ports import DRIVER_GROUP, DiscoveringDriver, FoundDevice, PortProbingDriver, load_driver
from esim_bench.rack.devices import names_of
from esim_bench.rack.holder import owner
from esim_bench.rack.model import DriverTable
from esim_bench.rack.reservations import listing

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

    @property
    def power_trouble(self) -> str | None:
        """Return why that power table is not good as it is: the hub switches its ports together, or can't be read."""
        return self.feeds.trouble if self.feeds is not None else None


@dataclass(slots=True)
class Discovery:
    """All that was found, and which drivers could not look, and why."""

    found: list[Found] = field(default_factory=list)
    troubles: dict[str, str] = field(default_factory=dict)


LeaveAlone = Callable[[FoundDevice], str | None]


async def discover(extra_ports: Sequence[str] = (), *, probe: bool = True) -> Discovery:
    """Look around with every installed driver; one that fails or hangs says so and holds up no other.

    ``extra_ports``: ports that nothing lists, by name. ``probe``: ask free ports who is there. What another process of
    the bench holds is not asked. Raises ConfigError for a name that is none.
    """
    result = Discovery()
    locked = _Locks()
    leave_alone: LeaveAlone = locked if probe else lambda port: locked(port) or ""
    names = sorted(point.name for point in entry_points(group=DRIVER_GROUP))
    looks = await asyncio.gather(*(_look(name, result, leave_alone) for name in names))
    devices = [device for look in looks for device in look]
    devices += await _named(_unlisted(extra_ports, devices), result, leave_alone)
    result.found = group([_told(device, locked) for device in devices])
    return result


async def _look(name: str, result: Discovery, leave_alone: LeaveAlone) -> Sequence[FoundDevice]:
    try:
        driver = load_driver(name)
        if not isinstance(driver, DiscoveringDriver):
            return ()
        async with asyncio.timeout(LIMIT):
            if isinstance(driver, PortProbingDriver):
                return await driver.look(leave_alone)
            return await driver.discover()
    except BenchError as exc:
        result.troubles[name] = str(exc)
    except TimeoutError:
        result.troubles[name] = f"did not end within {LIMIT:g} s"
    except ImportError as exc:
        result.troubles[name] = f"cannot be loaded: {exc}"
    except Exception as exc:
        # A driver of somebody else's may do anything; the others have found something all the same.
        result.troubles[name] = f"{type(exc).__name__}: {exc}"
    return ()


async def _named(ports: Sequence[str], result: Discovery, leave_alone: LeaveAlone) -> list[FoundDevice]:
    """Ask the ports that were named by hand."""
    if not ports:
        return []
    driver = load_driver("at")
    if not isinstance(driver, PortProbingDriver):
        raise ConfigError("the driver cannot ask ports", expected="a PortProbingDriver", found="at")
    found: list[FoundDevice] = []
    for port in ports:
        try:
            async with asyncio.timeout(LIMIT):
                found.append(await driver.probe_port(port, leave_alone))
        except ConfigError:
            raise
        except BenchError as exc:
            result.troubles[port] = str(exc)
        except TimeoutError:
            result.troubles[port] = f"did not answer within {LIMIT:g} s"
    return found


def _unlisted(ports: Sequence[str], devices: Sequence[FoundDevice]) -> list[str]:
    """Return the ports that were not found already, each once."""
    known = {os.path.realpath(path) for device in devices for path in device.paths}
    known |= {str(device.table.get("port")) for device in devices}
    known |= {name for device in devices for name in device.details.get("other ports", "").split()}
    return [port for port in dict.fromkeys(ports) if not known & {port, os.path.realpath(port)}]


class _Locks:
    """Who of the bench's users has a device now, or has reserved it; looked at once."""

    def __init__(self) -> None:
        self._holders: dict[str, str] = {}
        with contextlib.suppress(BenchError, OSError):
            for state, holder in listing():
                if state == "held":
                    self._holders[holder.device] = f"held by {holder}"
                elif state == "reserved" and holder.owner != owner():
                    self._holders.setdefault(holder.device, str(holder))

    def __call__(self, device: FoundDevice) -> str | None:
        names = names_of(DriverTable.model_validate(dict(device.table))) if self._holders else ()
        return next((self._holders[name] for name in names if name in self._holders), None)


def _told(device: FoundDevice, locked: LeaveAlone) -> FoundDevice:
    return device if device.trouble else replace(device, trouble=locked(device))


def group(devices: Sequence[FoundDevice]) -> list[Found]:
    """Put together what is one USB device, and tell which hub port feeds it; modules first, bare ports last."""
    hubs = {device.usb: device for device in devices if device.kind == "hub" and device.usb is not None}
    by_place: dict[str, list[FoundDevice]] = {}
    alone: list[FoundDevice] = []
    for device in devices:
        place = place_of(device)
        # A reader with two cards is two readers to the service, and two slots of a rack; what is wired to the ports of
        # a serial adapter is not the adapter.
        if place is None or device.kind in ("hub", "reader") or wired(device):
            alone.append(device)
        else:
            by_place.setdefault(place, []).append(device)
    found = [Found(device) for device in alone]
    for members in by_place.values():
        first, *parts = sorted(members, key=lambda device: ORDER.index(device.kind))
        found.append(Found(first, tuple(parts)))
    found = [_fed(one, hubs) for one in found]
    return sorted(found, key=_rank)


def wired(device: FoundDevice) -> bool:
    """Tell whether a device is known by the serial adapter alone that it is wired to."""
    return "adapter" in device.details


def place_of(device: FoundDevice) -> str | None:
    """Return where a device hangs: bus and ports, ``1-1.3``."""
    matched = _USB.match(device.usb or "")
    return matched[1] if matched else None


def _rank(one: Found) -> tuple[int, list[int], str]:
    numbers = [int(part) for part in re.findall(r"\d+", place_of(one.device) or "")]
    return ORDER.index(one.device.kind), numbers, str(one.device.table.get("port", "")) or one.device.name


def _fed(one: Found, hubs: dict[str, FoundDevice]) -> Found:
    place = place_of(one.device)
    # What powers an adapter powers what is wired to it only by chance.
    if place is None or one.device.kind == "hub" or wired(one.device):
        return one
    parent, dot, port = place.rpartition(".")
    if not dot:
        bus, _, port = place.partition("-")
        parent = f"usb{bus}"
    hub = hubs.get(parent)
    return Found(one.device, one.parts, hub, int(port)) if hub is not None else one
