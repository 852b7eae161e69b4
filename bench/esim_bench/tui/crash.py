"""What is kept of an error that nobody foresaw."""

from __future__ import annotations

import time
import traceback
from pathlib import Path

from esim_bench.store.home import home


def write_crash(error: BaseException) -> Path | str:
    """Append an error to the log file in the bench's home; return its path, or what to say where that failed."""
    path = home() / "tui.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n{''.join(traceback.format_exception(error))}\n")
    except OSError as exc:
        return f"could not be written: {exc}"
    return path
