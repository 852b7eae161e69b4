"""Many slots at once, and many clients at one SM-DP+."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

from esim_bench import clock
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.rack.model import Rack, load_rack
from esim_bench.rack.slot import open_slot
from esim_bench.rack.world import World
from esim_bench.scenario import engine, registry
from esim_drivers.sim.reader import SimReader

from .download import Nowhere, package_file

SLOTS = 64
CLIENTS = 16
DOWNLOADS_EACH = 4
COMMAND = [sys.executable, "-c", "from esim_bench.cli.main import main; main()"]


def rack_of(count: int, folder: Path, pki: Path | None = None) -> Rack:
    """Return a rack of simulated 4FF slots S01, S02, ..."""
    text = '[rack]\nname = "bench"\n' + (f'pki = "{pki}"\n' if pki else "")
    for number in range(1, count + 1):
        text += (
            f'\n[[slot]]\nname = "S{number:02}"\nform_factor = "4FF"\n'
            'sim = { personality = "4ff", profile = "bootstrap-global" }\n'
        )
    path = folder / f"rack-{count}.toml"
    path.write_text(text)
    return load_rack(str(path))


def _run(rack: Rack, slots: list[str], repeat: int) -> float:
    """Return the seconds of a provisioning of some slots, traces and run folder included."""
    scenario = registry.scenario("provision")
    options = engine.RunOptions(keep_state=False, repeat=repeat)
    began = time.perf_counter()
    result, _ = engine.run_scenario(rack, rack.select(slots), scenario, scenario.parse({}), options)
    assert result.outcome.value == "PASS", result.document()
    return time.perf_counter() - began


def throughput(folder: Path) -> tuple[float, float]:
    """Return the provisionings per second of 64 slots at once over those of one slot in a loop, and the latter."""
    rack = rack_of(SLOTS, folder)
    _run(rack, ["S01"], 2)
    ratios, rates = [], []
    for _ in range(3):
        alone = 32 / _run(rack, ["S01"], 32)
        together = SLOTS / _run(rack, [], 1)
        ratios.append(together / alone)
        rates.append(alone)
    return median(ratios), median(rates)


def downloads_over_tls(folder: Path) -> float:
    """Return the downloads per second of 16 devices from one SM-DP+ process over TLS on loopback.

    The devices, their simulated eUICCs included, share one process: on two cores each side has one. Their cards answer
    as fast as they compute, for on a real clock their own timing (seconds for an installation) would be measured.
    """
    environment = {**os.environ, "ESIM_BENCH_HOME": str(folder / "home")}
    subprocess.run(
        [*COMMAND, "pki", "init", "pki", "--json"], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL
    )
    package = package_file()
    what = ["--package", str(package)] if package else ["--profile", "operational-a"]
    arguments = [
        "serve",
        "smdp",
        "--pki",
        "pki",
        "--port",
        "0",
        *what,
        "--matching-id",
        "LOAD",
        "--test-order",
        "--json",
    ]
    with subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            document = first_document(process)
            with mock.patch.object(SimReader, "_wait", _at_once):
                return clock.run_real(_clients(folder, ActivationCode.parse(document["activation_codes"][0])))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


async def _at_once(reader: SimReader, seconds: float) -> None:
    await asyncio.sleep(0)


def first_document(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line.startswith("}"):
            break
    document: dict[str, Any] = json.loads(text)
    return document


async def _clients(folder: Path, code: ActivationCode) -> float:
    rack = rack_of(CLIENTS, folder, pki=folder / "pki")
    world = World(rack, "load", tls_roots=folder / "pki" / "tls-root.pem")

    async def device(name: str, times: int) -> None:
        for _ in range(times):
            slot = open_slot(rack.select([name])[0], world, Nowhere())
            await slot.start()
            await slot.lpa.download(code)
            await slot.close()

    await device("S01", 1)
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(1, CLIENTS + 1):
            group.create_task(device(f"S{number:02}", DOWNLOADS_EACH))
    return CLIENTS * DOWNLOADS_EACH / (time.perf_counter() - began)
