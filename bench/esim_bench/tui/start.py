"""Puts the screen together and runs it."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

from esim_bench.desk.client import RemoteDesk
from esim_bench.desk.watch import Watch
from esim_bench.rack.model import Rack, load_rack
from esim_bench.tui.app import BenchApp
from esim_bench.tui.context import Context
from esim_bench.tui.demo import Demo
from esim_bench.tui.state import TuiState


def make_app(rack: Rack, *, demo: bool = False, rate: float | None = None) -> BenchApp:
    """Return the app for a rack, with a desk of its own that works at ``rate`` (see ``Context``)."""
    context = Context.of(rack, TuiState(), lambda one: RemoteDesk(one.path, rate=rate), Watch, rate=rate, demo=demo)
    return BenchApp(context, life=Demo() if demo else None)


def run_here(rack: Rack, *, demo: bool = False, rate: float | None = None) -> int:
    """Run the screen in this terminal until it is left; return its code, 0 for a good end."""
    app = make_app(rack, demo=demo, rate=rate)
    app.run()
    return app.return_code or 0


def main() -> None:
    """Run the screen for a browser's page: options as JSON in the only argument, a WebDriver on stdin and stdout."""
    options = json.loads(sys.argv[1])
    end_with_parent()
    sys.exit(run_here(load_rack(options["rack"]), demo=options["demo"], rate=options["rate"]))


def end_with_parent() -> None:
    """End when the process that started this one is gone: nobody looks any more, and nobody would end it."""
    parent = os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(15.0)
        os._exit(1)

    threading.Thread(target=look, name="parent", daemon=True).start()


if __name__ == "__main__":
    main()
