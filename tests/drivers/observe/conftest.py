"""What the tests of observers share: contexts, waiting for events, simulated flows that are heard."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from esim_bench import clock
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.events import Event, EventSink, ListSink, MarkEvent, TeeSink
from esim_bench.ports import DriverContext, FormFactor
from esim_bench.rack.model import load_rack
from esim_bench.rack.slot import Slot, open_slot
from esim_bench.rack.world import World


@pytest.fixture
def context() -> Callable[[EventSink], DriverContext]:
    """Make what a driver is handed."""

    def make(sink: EventSink) -> DriverContext:
        return DriverContext("B1", FormFactor.MFF2, sink, random.Random(0), SeededRandomness("0"))

    return make


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Awaitable[None]]:
    """Wait for something to be true, for ten seconds at most."""

    async def wait(true: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not true():  # noqa: ASYNC110 - a fake device has no event loop
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture
def marks() -> Callable[[list[Event]], list[str]]:
    """Return the texts of the marks."""
    return lambda events: [event.text for event in events if isinstance(event, MarkEvent)]


@pytest.fixture
def simulated(tmp_path: Path) -> Callable[..., tuple[list[Event], Any]]:
    """Do something on a slot of the simulated rack; return its events and the result. ``heard`` is a sink more."""

    def run(
        job: Callable[[Slot], Awaitable[Any]], *, slot: str = "A1", seed: str = "1", heard: EventSink | None = None
    ) -> tuple[list[Event], Any]:
        sink = ListSink()

        async def main() -> Any:
            rack = load_rack("sim-3")
            world = World(rack, seed)
            opened = open_slot(rack.one(slot), world, TeeSink(sink, heard) if heard is not None else sink)
            try:
                await opened.start()
                return await job(opened)
            finally:
                await opened.close()

        result = clock.run_virtual(main())
        return sink.events, result

    return run
