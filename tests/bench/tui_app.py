"""The real app on a terminal, with journals in its trace; beside it, what is measured goes to a file.

``python -m tests.bench.tui_app FOLDER MEASURES``: a line of JSON every quarter of a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from esim_bench.rack.model import load_rack
from esim_bench.tui.app import BenchApp
from esim_bench.tui.start import make_app
from esim_bench.tui.trace.screen import TraceScreen

EVERY = 0.25
PROBE = 0.01


class Probe:
    """How late the loop is, and what the process takes."""

    def __init__(self, target: Path) -> None:
        self.lags: list[float] = []
        self.app: BenchApp | None = None
        self._target = target

    async def listen(self) -> None:
        """Sleep again and again; what is slept too long is the loop's lag."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PROBE
            await asyncio.sleep(PROBE)
            self.lags.append(max(0.0, loop.time() - due))

    def write(self) -> None:
        """Write the measures, in a thread of its own."""
        page_size = os.sysconf("SC_PAGE_SIZE")
        with self._target.open("w", buffering=1) as out:
            while True:
                time.sleep(EVERY)
                lags, self.lags = self.lags, []
                times = os.times()
                resident = int(Path("/proc/self/statm").read_text().split()[1]) * page_size
                screen = self.app.screen if self.app is not None and self.app.is_running else None
                page = screen.log_view.page if isinstance(screen, TraceScreen) and screen.is_mounted else None
                line: dict[str, Any] = {
                    "at": time.monotonic(),
                    "cpu": times.user + times.system,
                    "resident": resident,
                    "lags": [round(lag, 5) for lag in lags],
                    "total": page.total if page is not None else 0,
                    "behind": page.behind if page is not None else -1,
                }
                out.write(json.dumps(line) + "\n")


def main() -> int:
    """Run until it is left."""
    folder, target = Path(sys.argv[1]), Path(sys.argv[2])
    app = make_app(load_rack("sim-3"))
    probe = Probe(target)
    probe.app = app
    threading.Thread(target=probe.write, daemon=True).start()

    def begin() -> None:
        app.run_worker(probe.listen(), group="probe")
        app.open_trace(paths=sorted(folder.glob("*.pcapng")))

    app.call_later(begin)
    app.run()
    return app.return_code or 0


if __name__ == "__main__":
    sys.exit(main())
