"""The driver ``scpi``: a bench supply as power, and as an observer of the current.

::

    power = { driver = "scpi", resource = "TCPIP::10.0.0.5::5025::SOCKET", channel = 1, volts = 3.8, amps = 2.0 }
    observe = [ { driver = "scpi", resource = "TCPIP::10.0.0.5::5025::SOCKET", channel = 1, every_s = 0.1 } ]

Through PyVISA with its pure-Python library, no vendor's. An output that is off and a current that was there before and
is gone is a proof of its own (``off_below_a``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from esim_bench.ports import DriverContext, FoundDevice, Observer
from esim_drivers.scpi.sampler import Sampler, pace
from esim_drivers.scpi.supply import ScpiSupply, SupplySettings
from esim_drivers.scpi.visa import Instrument
from esim_drivers.usb_device import Pool, UsbDevice, all_devices, path_of

_TMC_CLASS, _TMC_SUBCLASS = 0xFE, 0x03


class ScpiDriver:
    """A PowerDriver, an ObserverDriver and a DiscoveringDriver. ``backend``: of pyusb, for discovery alone."""

    def __init__(self, backend: Any = None) -> None:
        self._backend = backend
        self._pool: Pool[Instrument] = Pool(_make)

    def open_power(self, spec: Mapping[str, Any], context: DriverContext) -> ScpiSupply:
        """Make the switch; the supply is opened when it is first used. Raises ConfigError."""
        return self._supply(spec, f"slot {context.slot}: power")

    def open_observer(self, spec: Mapping[str, Any], context: DriverContext) -> Observer:
        """Make a sampler of the channel's current and voltage. Raises ConfigError."""
        every_s = pace(spec)
        own = {key: value for key, value in spec.items() if key != "every_s"}
        supply = self._supply(own, f"slot {context.slot}: observe")
        return Sampler(supply, every_s, context.sink, f"scpi {supply.name}")

    def _supply(self, spec: Mapping[str, Any], where: str) -> ScpiSupply:
        settings = SupplySettings.read(spec, where)
        return ScpiSupply(settings, lambda: self._pool.take(settings.key), lambda: self._release(settings.key))

    async def _release(self, key: str) -> None:
        instrument = self._pool.give_back(key)
        if instrument is not None:
            await instrument.close()

    async def discover(self) -> Sequence[FoundDevice]:
        """Return the USB test and measurement devices; networks are not searched, and nothing is asked."""
        worker = UsbDevice("USB instruments", lambda: None)
        try:
            return await worker.run_plain(self._look)
        finally:
            await worker.close()

    def _look(self) -> list[FoundDevice]:
        found = []
        for device in all_devices(self._backend):
            for interface in _instruments(device):
                serial = _serial(device)
                place = f"USB0::0x{device.idVendor:04X}::0x{device.idProduct:04X}"
                resource = f"{place}::{serial or '?'}::{interface}::INSTR"
                found.append(
                    FoundDevice(
                        "supply",
                        f"USB instrument {device.idVendor:04x}:{device.idProduct:04x}",
                        {"driver": "scpi", "resource": resource},
                        usb=path_of(device),
                        serial=serial,
                        trouble=None if serial else "its serial number cannot be read: hw/udev has rules for the right",
                    )
                )
        return found


def _instruments(device: Any) -> list[int]:
    """Return the numbers of a device's test and measurement interfaces (USBTMC 4.2)."""
    kinds = {
        int(one.bInterfaceNumber): (int(one.bInterfaceClass), int(one.bInterfaceSubClass))
        for configuration in device
        for one in configuration
    }
    return [number for number, kind in kinds.items() if kind == (_TMC_CLASS, _TMC_SUBCLASS)]


def _serial(device: Any) -> str | None:
    import usb.util

    try:
        return device.serial_number or None
    except Exception:
        return None
    finally:
        usb.util.dispose_resources(device)


def _make(key: str) -> Instrument:
    library, baud, resource = key.split("|", 2)
    return Instrument(resource, library, int(baud) if baud else None)


driver = ScpiDriver()
