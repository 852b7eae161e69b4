"""Speed, as ratios of medians within one run.

``make bench`` prints a table and writes ``build/bench.json``: a list of {"name", "value", "unit", "limit", "ok"}. A
limit that is not met makes it fail.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from esim_bench.codec import tlv
from esim_bench.codec.saip import ProfilePackage
from esim_bench.events import ApduEvent
from esim_bench.trace import Journal

from . import download, eim, fleet, pcsc, serial, tui_load
from .measuring import Figure, ratio, report, seconds


def walk(raw: bytes) -> int:
    """Walk all TLVs of some bytes, constructed ones too; return how many there are."""
    count = 0
    for item in tlv.iterate(raw):
        count += 1
        if item.constructed:
            count += walk(item.value)
    return count


def decode_ratio() -> float:
    """Time a whole decode of a profile package against a recursive TLV walk of the same bytes."""
    raw = download.package_bytes()
    return ratio(lambda: ProfilePackage.parse(raw, deep=True), lambda: walk(raw), times=3)


def trace_ratio(folder: Path) -> float:
    """Time one trace record against a bare os.write of as many bytes."""
    command, response = bytes.fromhex("81E2910006BF3E035C015A00"), bytes.fromhex("BF3E125A10") + bytes(16) + b"\x90\x00"
    event = ApduEvent(1_767_225_600_000_000_000, command, response, 12_000_000)
    path = folder / "a.pcapng"
    journal = Journal.create(path, slot="A1")
    before = path.stat().st_size
    journal.emit(event)
    block = bytes(path.stat().st_size - before)
    handle = os.open(folder / "b", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        return ratio(lambda: journal.emit(event), lambda: os.write(handle, block), times=2000)
    finally:
        os.close(handle)
        journal.close(comments=False)


def help_seconds() -> float:
    """Time the whole process of ``esim-bench --help``."""
    command = [str(Path(sys.executable).with_name("esim-bench")), "--help"]
    return seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), rounds=9)


def over_pcsc(folder: Path) -> list[Figure]:
    """Time the PC/SC driver over the real pcscd and vpcd; nothing where they are not installed."""
    missing = pcsc.unavailable()
    if missing is not None:
        print(f"PC/SC is not measured: {missing}", file=sys.stderr)
        return []
    over_bare, ours, _ = pcsc.apdu_ratio(folder)
    real = pcsc.download_split(folder, rate=1.0)
    bare = pcsc.download_split(folder)
    return [
        Figure("APDU of a STORE DATA chain over pcscd / bare pyscard", over_bare, "x", 1.3),
        Figure("APDU of a STORE DATA chain over pcscd", ours * 1e6, "us"),
        Figure("download over pcscd, card at its own speed: ours of the wall time", real.share * 100, "%", 15.0),
        Figure("... card", real.card * 1000, "ms"),
        Figure("... transport", real.transport * 1000, "ms"),
        Figure("... ours", real.ours * 1000, "ms"),
        Figure("download over pcscd, card without waiting times: ours of the wall time", bare.share * 100, "%"),
        Figure("... wall time", bare.total * 1000, "ms"),
    ]


def over_ptys(folder: Path) -> list[Figure]:
    """Time the AT driver over ptys."""
    over_bare, taken = serial.long_answer()
    rate, share, lost = serial.many_modems(folder)
    return [
        Figure("AT+CSIM with an answer of 520 characters / select and os.read", over_bare, "x", 2.0),
        Figure("AT+CSIM with an answer of 520 characters", taken * 1e6, "us"),
        Figure("64 modems on ptys: commands per second", rate, "1/s"),
        Figure("64 modems on ptys: share of one core", share * 100, "%"),
        Figure("64 modems on ptys: answers lost", lost, "", 0.0),
    ]


def main() -> int:
    """Measure, print, write; return 1 if a limit is not met."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["ESIM_BENCH_HOME"] = str(folder / "home")
        over_floor, taken = download.measure()
        together, alone = fleet.throughput(folder)
        switch_over_floor, switch_taken = eim.psmo_switch(folder)
        polls, last_percent = eim.polls_over_tls(folder)
        figures = [
            Figure("download in process / its crypto and one decode of the package", over_floor, "x", 3.0),
            Figure("downloads in process per second", 1 / taken, "1/s"),
            Figure("provisionings of 64 slots at once / of one slot in a loop", together, "x", 0.8, least=True),
            Figure("provisionings of one slot per second, with traces", alone, "1/s"),
            Figure("decode of the package / recursive TLV walk of it", decode_ratio(), "x", 4.0),
            Figure("trace record / bare write of as many bytes", trace_ratio(folder), "x", 2.5),
            Figure("esim-bench --help", help_seconds(), "s", 0.25),
            Figure("SM-DP+ over TLS: downloads per second of 16 clients", fleet.downloads_over_tls(folder), "1/s"),
            Figure("PSMO switch in process / its crypto", switch_over_floor, "x", 3.0),
            Figure("PSMO switch in process", switch_taken * 1000, "ms"),
            Figure("eIM over TLS: requests per second of 64 polling IPAs", polls, "1/s"),
            Figure("eIM over TLS: 99th percentile of a request", last_percent * 1000, "ms"),
            *over_pcsc(folder),
            *over_ptys(folder),
            *tui_load.over_load(folder),
        ]
    return 0 if report(figures, Path("build/bench.json")) else 1


if __name__ == "__main__":
    sys.exit(main())
