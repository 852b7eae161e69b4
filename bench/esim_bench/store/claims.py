"""Which runs a process works on right now: a locked file each, which the kernel unlocks when the process ends.

A number of a process says less: it may be used again, and in a container it means something else.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_SUFFIX: Final = ".lock"


class Claim:
    """Holds a run, until ``release`` or the death of the process, however it dies."""

    def __init__(self, folder: Path, run: str) -> None:
        """Take the run. Raises OSError where the folder takes no files or no locks."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{run}{_SUFFIX}"
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.stat(self._path).st_ino == os.fstat(descriptor).st_ino:
                    break
            except FileNotFoundError:
                pass  # somebody tidied up between our two steps: once more
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let the run go; a second time does nothing."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            os.close(descriptor)


def claimed(folder: Path, run: str) -> bool:
    """Tell whether a living process, this one included, works on a run."""
    try:
        descriptor = os.open(folder / f"{run}{_SUFFIX}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared: several may ask at once without taking each other for the run's process.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def tidy(folder: Path) -> None:
    """Remove the files of runs on which nobody works."""
    for path in folder.glob(f"*{_SUFFIX}"):
        if not claimed(folder, path.name.removesuffix(_SUFFIX)):
            with suppress(OSError):
                path.unlink(missing_ok=True)
