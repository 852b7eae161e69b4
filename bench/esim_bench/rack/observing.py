"""What listens beside a slot: sniffers, debug UARTs, meters. One that fails is told of; a run fails only if it must."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from esim_bench import clock
from esim_bench.errors import BenchError, ConfigError, RigError
from esim_bench.events import EventSink, MarkEvent, NullSink
from esim_bench.ports import DriverContext, LosesDevice, Observer, ObserverDriver, load_driver
from esim_bench.rack.model import ObserveTable, SlotSpec

START_SECONDS: Final = 15.0
STOP_SECONDS: Final = 10.0


class Watch:
    """One observer of a slot, with what the rack file asks of it. Never raises, but where ``required``."""

    def __init__(self, name: str, observer: Observer, sink: EventSink, *, required: bool = False) -> None:
        self.name = name
        self.required = required
        self._observer = observer
        self._sink = sink
        self._began = False
        self._failure: RigError | None = None

    async def start(self) -> None:
        """Begin to listen; a second time does nothing. Raises RigError when it is required and does not."""
        if self._began:
            return
        self._began = True
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._observer.start()
        except Exception as exc:
            self._failure = self._rig_error("does not listen", exc)
            self._mark(str(self._failure))
            if self.required:
                raise self._failure from exc

    async def stop(self) -> None:
        """End; never raises."""
        if not self._began:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._observer.stop()
        except Exception as exc:
            self._mark(str(self._rig_error("does not end", exc)))

    @property
    def trouble(self) -> RigError | None:
        """Return why a required observer has not heard all; None where nobody requires that."""
        if not self.required:
            return None
        if self._failure is None and isinstance(self._observer, LosesDevice) and self._observer.trouble is not None:
            self._failure = self._rig_error("was lost", self._observer.trouble)
        return self._failure

    def _rig_error(self, what: str, exc: Exception) -> RigError:
        why = str(exc) if isinstance(exc, BenchError) else f"{type(exc).__name__}: {exc}".rstrip(": ")
        return RigError(f"the observer {self.name} {what}: {why}")

    def _mark(self, text: str) -> None:
        with suppress(RuntimeError):  # no loop runs any more
            self._sink.emit(MarkEvent(clock.wall_ns(), text))


def open_observers(spec: SlotSpec, context: DriverContext) -> list[Observer]:
    """Open the observers of a slot (no I/O yet); none where nobody would hear of what they tell.

    Raises ConfigError: unknown driver, a driver that observes nothing, unusable keys.
    """
    opened: list[Observer] = []
    for table in spec.observe:
        observer = open_observer(table, context)
        if not isinstance(context.sink, NullSink):
            opened.append(Watch(_name(table), observer, context.sink, required=table.required))
    return opened


def open_observer(table: ObserveTable, context: DriverContext) -> Observer:
    """Open one observer (no I/O yet). Raises ConfigError."""
    driver = load_driver(table.driver)
    if not isinstance(driver, ObserverDriver):
        raise ConfigError(
            "the driver cannot serve as observer", expected="a driver of an observer", found=repr(table.driver)
        )
    return driver.open_observer(table.settings(), context)


def trouble_of(observers: Sequence[Observer]) -> RigError | None:
    """Return the first trouble of a required observer."""
    return next((one.trouble for one in observers if isinstance(one, Watch) and one.trouble is not None), None)


def _name(table: ObserveTable) -> str:
    settings = table.settings()
    place = next((str(settings[key]) for key in ("usb", "port", "resource", "serial") if key in settings), "")
    return f"{table.driver} {place}".rstrip()
