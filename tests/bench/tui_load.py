"""The screen under load, on a real terminal (a pty): five million records in 64 journals, and 5,000 more a second.

The journals grow by a process of their own. Keys are written to the terminal; answered is one when the repaint that
shows its effect has been read from it. How late the app's loop is, it measures itself (``tui_app``).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import statistics
import struct
import subprocess
import sys
import termios
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from esim_bench.trace.index import is_error

from . import journals
from .measuring import Figure

SLOTS = 64
RECORDS = 5_000_000
RATE = 5_000
LOADED_SECONDS = 20.0
PRESSES = 40
SIZE = (40, 120)
_ESCAPES = re.compile(rb"\x1b\[[0-9;?<>=]*[a-zA-Z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[PX^_][^\x1b]*\x1b\\|\x1b.")


class Terminal:
    """A process on a pty, and all that it has written."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True, cwd=Path.cwd()
        )
        os.close(slave)
        self._master = master
        self._data = bytearray()
        self._came = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                data = b""
            with self._came:
                self._data += data
                self._came.notify_all()
            if not data:
                return

    def press(self, keys: str) -> int:
        """Write keys; return where in the output their answer begins at the earliest."""
        with self._came:
            mark = len(self._data)
        os.write(self._master, keys.encode())
        return mark

    def shows(self, pattern: str, since: int, seconds: float) -> float | None:
        """Wait for a text in what is written after ``since``; return when it was there, None: not in time."""
        end = time.perf_counter() + seconds
        wanted = re.compile(pattern)
        with self._came:
            while True:
                text = _ESCAPES.sub(b"", bytes(self._data[since:])).decode("utf-8", "replace")
                if wanted.search(text):
                    return time.perf_counter()
                left = end - time.perf_counter()
                if left <= 0 or not self._came.wait(left):
                    return None

    def took(self, keys: str, pattern: str, seconds: float = 10.0) -> float:
        """Write keys, wait for their effect; return the seconds. Raises RuntimeError when it does not come."""
        began = time.perf_counter()
        shown = self.shows(pattern, self.press(keys), seconds)
        if shown is None:
            raise RuntimeError(f"the screen did not show {pattern!r} after {keys!r}")
        return shown - began

    def tail(self) -> str:
        """Return the end of what was written, as text."""
        with self._came:
            return _ESCAPES.sub(b" ", bytes(self._data[-4000:])).decode("utf-8", "replace")

    def close(self) -> None:
        """End the process."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        os.close(self._master)


@contextmanager
def terminal(folder: Path, measures: Path, home: Path) -> Iterator[Terminal]:
    """Start the app on a terminal."""
    env = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor", "ESIM_BENCH_HOME": str(home)}
    one = Terminal([sys.executable, "-m", "tests.bench.tui_app", str(folder), str(measures)], env)
    try:
        yield one
    finally:
        one.close()


def lines(measures: Path) -> list[dict[str, Any]]:
    """Return the measures so far."""
    if not measures.exists():
        return []
    return [json.loads(line) for line in measures.read_text().splitlines(keepends=True) if line.endswith("\n")]


def wait_until_read(measures: Path, total: int, app: Terminal, seconds: float = 240.0) -> list[dict[str, Any]]:
    """Wait until the app has indexed everything; return the measures. Raises RuntimeError when it does not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and app.process.poll() is None:
        found = lines(measures)
        if found and found[-1]["total"] >= total and found[-1]["behind"] == 0:
            return found
        time.sleep(0.25)
    raise RuntimeError(f"the app did not read the journals: {app.tail()}")


def counts(records: int) -> Counter[str]:
    """Count what there is in the journals, from what was written into them."""
    found: Counter[str] = Counter()
    rounds = records // SLOTS // journals.ROUND
    for number in range(journals.ROUND):
        event = journals.life(number, 0)
        found[type(event).__name__] += 1
        found["errors"] += is_error(event)
        response = getattr(event, "response", b"")
        found["6a82"] += type(event).__name__ == "ApduEvent" and response == b"\x6a\x82"
        found["SELECT"] += getattr(event, "command", b"")[1:2] == b"\xa4"
    found["all"] = journals.ROUND
    return Counter({name: count * rounds * SLOTS for name, count in found.items()})


def ways(app: Terminal, total: int) -> dict[str, float]:
    """Jump about and filter in what is there; return the seconds to the first screen of each."""
    known = counts(RECORDS)
    took: dict[str, float] = {}

    def shown(count: int) -> str:
        return rf"of {count:,}\s"

    def jump(text: str, pattern: str) -> float:
        app.took("g", "Go to")
        time.sleep(0.3)
        app.press(text)
        time.sleep(0.3)
        return app.took("\r", pattern)

    middle = total // 2
    took["jump to a record"] = jump(str(middle), shown(total).replace("of", f"{middle:,} of"))
    took["jump to a part"] = jump("25 %", r"25%")
    took["jump to a time"] = jump("+60 s", shown(total))
    app.took("n", shown(total))
    for name, key, count in (
        ("kind: AT", "2", known["AtEvent"]),
        ("kind: power", "4", known["PowerEvent"]),
        ("kind: APDU", "1", known["ApduEvent"] + 1),
        ("errors", "!", known["errors"] + 1),
    ):
        took[f"filter: {name}"] = app.took(key, shown(count))
        app.took("0", shown(total))
    took["filter: slot"] = app.took("s", rf"of {total // SLOTS:,}\s|of {total // SLOTS + 2:,}\s")
    app.took("0", shown(total))
    for name, text, count in (
        ("function", "select", known["SELECT"]),
        ("status word", "6a82", known["6a82"]),
        ("status word that is there once", "6f99", 1),
    ):
        app.took("F", "Show only")
        time.sleep(0.5)
        app.press(text)
        time.sleep(0.3)
        app.press("\r")
        time.sleep(0.5)
        took[f"filter: {name}"] = app.took("\r", shown(count))
        app.took("0", shown(total))
    return took


def search(app: Terminal) -> tuple[float, float]:
    """Search for text; return the seconds to the first hits, and to the one that is there once."""
    app.press("/")
    time.sleep(0.3)
    app.press("+creg")
    time.sleep(0.3)
    first = app.took("\r", r"[\d,]+ hits?")
    app.press("\x1b")
    time.sleep(0.5)
    app.press("/")
    time.sleep(0.3)
    app.press("\x7f" * 10 + journals.NEEDLE)
    time.sleep(0.3)
    rare = app.took("\r", r"1 hit", 60.0)
    app.press("\x1b")
    time.sleep(0.5)
    return first, rare


def presses(app: Terminal) -> list[float]:
    """Press a key that changes the head of the log, while everything moves; return the seconds of each."""
    titles = ("Δ previous", "Δ reference", r"Time \(UTC\)")
    took = []
    for number in range(PRESSES):
        took.append(app.took("t", titles[number % 3], 5.0))
        time.sleep(0.2 + (number % 7) * 0.01)
    return took


def percentile(values: list[float], part: float) -> float:
    """Return a percentile by rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def over_load(folder: Path) -> list[Figure]:
    """Measure it all."""
    data = folder / "journals"
    paths = journals.make(data, SLOTS, RECORDS)
    total = counts(RECORDS)["all"] + 2
    measures = folder / "measures.jsonl"
    with terminal(data, measures, folder / "tui-home") as app:
        began = time.monotonic()
        found = wait_until_read(measures, total, app)
        reading = time.monotonic() - began
        few = next(line for line in found if line["total"] > total // 10)
        many = found[-1]
        took = ways(app, total)
        first_hit, rare_hit = search(app)
        quiet = lines(measures)[-1]
        time.sleep(2.0)
        idle = lines(measures)[-1]
        app.took("\x1b[F", "following")  # the key End
        writer = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.journals", str(data), str(RATE), "600"], stdout=subprocess.PIPE
        )
        try:
            time.sleep(3.0)
            start = lines(measures)[-1]
            time.sleep(LOADED_SECONDS)
            end = lines(measures)[-1]
            slow = presses(app)
            last = lines(measures)[-1]
        finally:
            writer.terminate()
            writer.wait()
    del paths
    loaded = [line for line in lines(measures) if start["at"] < line["at"] <= last["at"]]
    lags = [lag for line in loaded for lag in line["lags"]]
    seconds = end["at"] - start["at"]
    rate = (end["total"] - start["total"]) / seconds
    mega = 1 << 20
    return [
        Figure("TUI: records of 64 journals that it follows", float(many["total"]), ""),
        Figure("TUI: seconds until 5 million records are indexed", reading, "s"),
        Figure("TUI: records written and shown per second", rate, "1/s", RATE * 0.95, least=True),
        Figure("TUI: share of one core at that rate", (end["cpu"] - start["cpu"]) / seconds * 100, "%", 40.0),
        Figure("TUI: share of one core at rest", (idle["cpu"] - quiet["cpu"]) / (idle["at"] - quiet["at"]) * 100, "%"),
        Figure("TUI: loop lag, 99th percentile", percentile(lags, 0.99) * 1000, "ms", 50.0),
        Figure("TUI: loop lag, greatest", max(lags, default=0.0) * 1000, "ms"),
        Figure("TUI: key press answered, median", statistics.median(slow) * 1000, "ms"),
        Figure("TUI: key press answered, slowest of 40", max(slow) * 1000, "ms", 100.0),
        Figure("TUI: memory with 5 million records", many["resident"] / mega, "MiB"),
        Figure("... more than with 500,000", (many["resident"] - few["resident"]) / mega, "MiB", 32.0),
        Figure("... and more after the load", (last["resident"] - start["resident"]) / mega, "MiB", 16.0),
        *(Figure(f"TUI: {name}, first screen", value, "s", 0.3) for name, value in took.items()),
        Figure("TUI: first hits of a text search", first_hit, "s", 0.5),
        Figure("TUI: the one hit in the middle of 5 million records", rare_hit, "s"),
    ]
