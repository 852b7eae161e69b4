"""stdin and stdout of a process that speaks a protocol on them: nothing else may come in between."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from typing import BinaryIO, Final

from esim_bench.store.home import home

LOG_LIMIT: Final = 4 * 1024 * 1024
"""Bytes from which on a log file is begun anew; the one before is kept."""


def protocol_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Take stdin and stdout for the protocol; what else is printed goes to stderr, what else is read is empty."""
    stdin, stdout = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return os.fdopen(stdin, "rb"), os.fdopen(stdout, "wb")


def log(text: object, exc: BaseException | None = None) -> None:
    """Write a line, and an exception with its traceback, to stderr; never raises."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        if exc is not None:
            traceback.print_exception(exc)
        sys.stderr.flush()


def log_file(name: str) -> int | None:
    """Open a file in the bench's home to append to; None where none can be written."""
    path = home() / "log" / f"{name}.log"
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > LOG_LIMIT:
                path.replace(path.with_suffix(".1.log"))
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return None
