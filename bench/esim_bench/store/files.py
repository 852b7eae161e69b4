"""Files that are whole at every moment: written beside their place, then renamed over it.

A process that dies while it writes leaves the old file, and beside it a temporary one named ``.NAME.PID.new`` (traces:
``.NAME.PID.part``), which is swept away later.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

_TEMPORARY: Final = re.compile(r"\..+\.(\d+)\.(?:new|part)")


def write_whole(path: Path, text: str) -> None:
    """Replace a text file at once; one reader sees the old one or the new one. Raises OSError.

    Two processes may do so at the same time: each has a temporary file of its own. There is no fsync: a dying process
    loses nothing by that, and a run's result is written more than once.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        new.write_text(text)
        new.replace(path)
    except BaseException:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise


def sweep(folder: Path) -> int:
    """Remove the temporary files that processes left which are no more; return their number."""
    removed = 0
    with suppress(OSError):
        for entry in os.scandir(folder):
            found = _TEMPORARY.fullmatch(entry.name)
            if found is None or _alive(int(found[1])):
                continue
            with suppress(OSError):
                os.unlink(entry.path)
                removed += 1
    return removed


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # somebody else's
    return True
