"""Who holds a device: owner, host, process, since when and what for, as it stands in the file of a lock."""

from __future__ import annotations

import getpass
import json
import os
import re
import shlex
import socket
import sys
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

OWNER_VARIABLE: Final = "ESIM_BENCH_OWNER"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a device, or has reserved it."""

    device: str
    owner: str
    host: str
    since: float
    """Seconds since 1970."""
    slot: str = ""
    note: str = ""
    pid: int = 0
    started: int = 0
    """Start of the process in the kernel's ticks: tells it from a later one of the same number. 0: not known."""
    command: str = ""
    run: str | None = None
    boot: str = ""
    """Of the kernel that ``pid`` belongs to."""
    space: str = ""
    """Of the processes that ``pid`` is counted in: a container has its own."""
    until: float | None = None
    """End of a reservation."""
    broken_by: str = ""
    """Who took the lock away from its holder."""

    @classmethod
    def here(cls, device: str, **more: Any) -> Holder:
        """Return this process as the holder of a device."""
        return cls(
            device=device,
            owner=owner(),
            host=socket.gethostname(),
            since=time.time(),
            pid=os.getpid(),
            started=_started(os.getpid()),
            command=_command(),
            boot=boot_id(),
            space=_space(),
            **more,
        )

    @classmethod
    def parse(cls, text: bytes) -> Holder | None:
        """Read what stands in a file; None where that is nothing of ours."""
        try:
            document = json.loads(text)
            known = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
            return cls(**{**known, "pid": int(known.get("pid", 0)), "since": float(known["since"])})
        except (ValueError, TypeError, KeyError):
            return None

    def document(self) -> dict[str, Any]:
        """Return the holder as JSON values."""
        return {name: value for name, value in asdict(self).items() if value not in ("", None)}

    @property
    def same_machine(self) -> bool:
        """Tell whether the process can be looked at from here."""
        return self.boot == boot_id() if self.boot and boot_id() else self.host == socket.gethostname()

    @property
    def gone(self) -> bool:
        """Tell whether the process certainly lives no more; False where nobody can know."""
        if not self.pid:
            return False
        if self.host == socket.gethostname() and self.boot and boot_id() and self.boot != boot_id():
            return True  # the machine was started anew
        if not self.same_machine or self.space != _space():
            return False
        now = _started(self.pid)
        return now == 0 or (self.started != 0 and now != self.started)

    def __str__(self) -> str:
        """Say who it is, since when, what for."""
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        text = f"{self.owner} on {self.host}"
        if self.until is not None:
            text += f", reserved until {time.strftime('%Y-%m-%d %H:%M', time.localtime(self.until))}"
        elif self.pid:
            text += f", process {self.pid}" + (f" ({self.command})" if self.command else "") + f", since {since}"
        if self.run:
            text += f", run {self.run}"
        if self.slot:
            text += f", as slot {self.slot}"
        return text + (f": {self.note}" if self.note else "")


def owner() -> str:
    """Return who works here: ``$ESIM_BENCH_OWNER`` (one Unix user may serve many CI jobs), else the user."""
    chosen = os.environ.get(OWNER_VARIABLE)
    if chosen:
        return chosen
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _command() -> str:
    # No more than the words of the command: what follows may be a code that nobody is to read.
    words = []
    for word in sys.argv[1:3]:
        if not re.fullmatch(r"[a-z][a-z_-]{1,31}", word):
            break
        words.append(word)
    return shlex.join([Path(sys.argv[0]).name or "python", *words])


def _started(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        # The name in parentheses may hold anything, parentheses too; state is the third field, start the 22nd.
        state, *fields = text.rpartition(")")[2].split()
    except (OSError, ValueError):
        return 0
    return 0 if state in "ZX" else int(fields[18])


@cache
def boot_id() -> str:
    """Return what tells this start of the machine from others, "" where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@cache
def _space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
