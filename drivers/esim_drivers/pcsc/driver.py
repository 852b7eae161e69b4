"""The driver ``pcsc``: cards in readers of the system's PC/SC service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from esim_bench.ports import CardLink, DriverContext, FoundDevice
from esim_drivers.pcsc import clients, failures, library, readers
from esim_drivers.pcsc.card import PcscCard
from esim_drivers.pcsc.library import Failure, check
from esim_drivers.pcsc.options import Options
from esim_drivers.worker import Worker

DISCOVER_SECONDS: Final = 10.0


class PcscDriver:
    """A CardDriver and a DiscoveringDriver."""

    def __init__(self, root: Path = readers.SYSFS) -> None:
        """``root``: where sysfs is."""
        self._root = root

    def open_card(self, spec: Mapping[str, Any], context: DriverContext) -> CardLink:
        """Open a card from a slot's ``card`` table (no I/O yet). Raises ConfigError for an unusable table."""
        options = Options.parse(spec, f"slot {context.slot}: card")
        return PcscCard(options, context.sink, context.slot, self._root)

    async def discover(self) -> Sequence[FoundDevice]:
        """Return the readers that there are, and what is in them; no card is powered, reset or taken.

        Raises ConfigError (library missing, access denied), TransportError (the service is not running).
        """
        worker = Worker("the PC/SC service")
        try:
            return await worker.run(self._discover, timeout=DISCOVER_SECONDS)
        except Failure as failure:
            raise failures.explain(failure) from failure
        finally:
            worker.close()

    def _discover(self) -> list[FoundDevice]:
        scard = library.load()
        code, context = scard.SCardEstablishContext(library.SCOPE_USER)
        check(code, "SCardEstablishContext")
        try:
            names = readers.listed(context)
            devices = readers.usb_devices(self._root)
            return [self._found(scard, context, name, names, devices) for name in names]
        finally:
            scard.SCardReleaseContext(context)

    def _found(
        self, scard: Any, context: Any, name: str, names: Sequence[str], devices: Sequence[readers.UsbDevice]
    ) -> FoundDevice:
        code, states = scard.SCardGetStatusChange(context, 0, [(name, 0)])
        check(code, "SCardGetStatusChange")
        _, state, atr = states[0]
        device = _device_of(name, readers.channel_of(context, name), devices)
        details = {"card": "present" if state & library.STATE_PRESENT else "none"}
        if state & library.STATE_MUTE:
            details["card"] = "mute"
        if atr:
            details["atr"] = bytes(atr).hex().upper()
        trouble = None
        if state & library.STATE_EXCLUSIVE:
            trouble = f"in use by {clients.holders() or 'another program'}: end that program, or wait for it"
        serial = readers.serial_in(name) or (device.serial if device else "") or None
        return FoundDevice(
            kind="reader",
            name=name,
            table={"driver": "pcsc", **self._selector(name, names, device, devices)},
            usb=device.place if device else None,
            serial=serial,
            details=details,
            trouble=trouble,
        )

    def _selector(
        self, name: str, names: Sequence[str], device: readers.UsbDevice | None, devices: Sequence[readers.UsbDevice]
    ) -> dict[str, Any]:
        """Return the keys that find this reader again tomorrow, whatever is plugged in beside it."""
        if device is None:
            return {"reader": f"name:{name}"}
        selector: dict[str, Any] = {"reader": f"usb:{device.place}"}
        siblings = [other for other in names if readers.could_be(other, device)]
        if readers.slot_in(name) or len({readers.slot_in(other) for other in siblings}) > 1:
            selector["slot"] = readers.slot_in(name)
        return selector


def _device_of(name: str, channel: int | None, devices: Sequence[readers.UsbDevice]) -> readers.UsbDevice | None:
    if channel is not None:
        return next((device for device in devices if device.channel == channel), None)
    suiting = [device for device in devices if readers.could_be(name, device)]
    return suiting[0] if len(suiting) == 1 else None


driver = PcscDriver()
