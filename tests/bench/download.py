"""A whole SGP.22 download of a TS.48 profile in one process, and what it cannot be faster than."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from esim_bench import clock, data
from esim_bench.codec.saip import ProfilePackage
from esim_bench.events import Event
from esim_bench.profile_file import load_profile
from esim_bench.rack.model import load_rack
from esim_bench.rack.slot import open_slot
from esim_bench.rack.source import ProfileOrder, ProfileSource
from esim_bench.rack.world import World

from .recording import Recording, recorded

ROUNDS = 25


class Nowhere:
    """A sink that keeps nothing: the download alone is measured; the trace has a figure of its own."""

    def emit(self, event: Event) -> None:
        pass


def package_file() -> Path | None:
    """Return TS.48 v5 where it is."""
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    path = Path(os.environ.get("ESIM_BENCH_TS48") or default) / "TS48v5_SAIP2.3_NoBERTLV.der"
    return path if path.exists() else None


def package_bytes() -> bytes:
    """Return TS.48 v5 where it is, else the package of operational-a."""
    path = package_file()
    return path.read_bytes() if path else load_profile(data.profile_file("operational-a")).upp


def source() -> ProfileSource:
    path = package_file()
    return ProfileSource(package=path) if path else ProfileSource(profile="operational-a")


def floor(recording: Recording, package: bytes) -> float:
    """Return the seconds of the recorded primitive calls and one decode of the package."""
    began = time.perf_counter()
    recording.replay()
    ProfilePackage.parse(package, deep=True)
    return time.perf_counter() - began


async def one_download(world: World, order: ProfileOrder) -> tuple[float, Recording | None]:
    """Download onto a fresh card; return the seconds from the LPA's first command to the delivered result."""
    spec = world.rack.select(["A1"])[0]
    slot = open_slot(spec, world, Nowhere())
    try:
        await slot.start()
        began = time.perf_counter()
        await slot.lpa.download(order.activation_code)
        return time.perf_counter() - began, None
    finally:
        await slot.close()


async def _measure(say: Callable[[str], None]) -> tuple[float, float]:
    world = World(load_rack("sim-3"), "bench")
    order = await world.order(source())
    package = package_bytes()
    await one_download(world, order)
    with recorded() as recording:
        await one_download(world, order)
    ratios, times = [], []
    for _ in range(ROUNDS):
        taken, _ = await one_download(world, order)
        ratios.append(taken / floor(recording, package))
        times.append(taken)
    say(f"{recording.count()} primitive calls")
    return median(ratios), median(times)


def measure(say: Callable[[str], None] = lambda text: None) -> tuple[float, float]:
    """Return a download's time over its floor, and in seconds; medians."""
    return clock.run_virtual(_measure(say))
