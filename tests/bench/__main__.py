"""Speed, as ratios of medians within one run: absolute times say more about the machine than about the program.

``make bench`` prints a table and writes ``build/bench.json``: a list of {"name", "value", "unit", "limit", "ok"}. A
limit that is not met makes it fail.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from esim_bench import data
from esim_bench.codec import tlv
from esim_bench.codec.saip import ProfilePackage
from esim_bench.events import ApduEvent
from esim_bench.profile_file import load_profile
from esim_bench.rack.model import load_rack
from esim_bench.scenario import engine, registry
from esim_bench.trace import Journal

ROUNDS = 15


def median(work: Callable[[], Any], times: int) -> float:
    """Return the median seconds of one call, over ROUNDS rounds of ``times`` calls."""
    work()
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(times):
            work()
        rounds.append((time.perf_counter() - began) / times)
    return statistics.median(rounds)


def walk(raw: bytes) -> int:
    """Walk all TLVs of some bytes, constructed ones too; return how many there are."""
    count = 0
    for item in tlv.iterate(raw):
        count += 1
        if item.constructed:
            count += walk(item.value)
    return count


def package_bytes() -> bytes:
    """Return TS.48 v5 where it is, else the package of operational-a."""
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    path = Path(os.environ.get("ESIM_BENCH_TS48") or default) / "TS48v5_SAIP2.3_NoBERTLV.der"
    return path.read_bytes() if path.exists() else load_profile(data.profile_file("operational-a")).upp


def decode_ratio() -> float:
    """Time a whole decode of a profile package against a recursive TLV walk of the same bytes."""
    raw = package_bytes()
    return median(lambda: ProfilePackage.parse(raw, deep=True), 3) / median(lambda: walk(raw), 3)


def trace_ratio() -> float:
    """Time one trace record against a bare os.write of as many bytes."""
    command, response = bytes.fromhex("81E2910006BF3E035C015A00"), bytes.fromhex("BF3E125A10") + bytes(16) + b"\x90\x00"
    event = ApduEvent(1_767_225_600_000_000_000, command, response, 12_000_000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pcapng"
        with Journal.create(path, slot="A1") as journal:
            before = path.stat().st_size
            journal.emit(event)
            size = path.stat().st_size - before
            ours = median(lambda: journal.emit(event), 2000)
        handle = os.open(Path(folder) / "b", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            block = bytes(size)
            bare = median(lambda: os.write(handle, block), 2000)
        finally:
            os.close(handle)
    return ours / bare


def provision_seconds(slots: list[str]) -> float:
    """Return the median seconds of a provisioning of some simulated slots at once."""
    rack = load_rack("sim-3")
    scenario = registry.scenario("provision")
    options = engine.RunOptions(keep_state=False)

    def work() -> None:
        result, _ = engine.run_scenario(rack, rack.select(slots), scenario, scenario.parse({}), options)
        assert result.outcome.value == "PASS", result.document()

    return median(work, 1)


def main() -> int:
    """Measure, print, write; return 1 if a limit is not met."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["ESIM_BENCH_HOME"] = home
        one = provision_seconds(["A1"])
        three = provision_seconds([])
    measured: list[tuple[str, float, str, float | None]] = [
        ("decode of a profile package / TLV walk", decode_ratio(), "x", None),
        ("trace record / bare write of as many bytes", trace_ratio(), "x", None),
        ("three form factors at once / the card alone", three / one, "x", None),
        ("provisionings of a simulated card per second", 1 / one, "1/s", None),
    ]
    rows = [
        {"name": name, "value": round(value, 3), "unit": unit, "limit": limit, "ok": limit is None or value <= limit}
        for name, value, unit, limit in measured
    ]
    for row in rows:
        limit = "" if row["limit"] is None else f"  (at most {row['limit']})"
        sys.stdout.write(f"{row['name']:<48} {row['value']:>9} {row['unit']:<4}{limit}\n")
    target = Path("build/bench.json")
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(rows, indent=2) + "\n")
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
