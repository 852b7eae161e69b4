"""Devices that somebody keeps for himself between commands: a file beside the lock, with an owner and an end.

An owner's own commands pass, those of others are refused until the end has come.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from esim_bench.errors import ConfigError
from esim_bench.rack.holder import Holder, owner
from esim_bench.rack.locks import (
    LOCK,
    MODE,
    RESERVATION,
    file_name,
    folder,
    in_use,
    living,
    read,
    respect_reservation,
    taking_turns,
    write,
)


def reserve(devices: Sequence[str], seconds: float, *, slot: str = "", note: str = "") -> Holder:
    """Reserve devices for this owner; one's own reservation is renewed.

    Raises InUseError: reserved by another owner, or in use by another owner's process; ConfigError.
    """
    place = folder()
    with taking_turns(place):
        for device in devices:
            respect_reservation(place, device)
            held = living(place / (file_name(device) + LOCK))
            if held is not None and held.owner != owner():
                raise in_use(device, held)
        for device in devices:
            holder = replace(
                Holder.here(device, slot=slot, note=note, until=time.time() + seconds), pid=0, started=0, command=""
            )
            path = place / (file_name(device) + RESERVATION)
            with suppress(FileNotFoundError):
                path.unlink()
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)
            try:
                os.fchmod(descriptor, MODE)
                write(descriptor, holder)
            finally:
                os.close(descriptor)
    return holder


def free(devices: Sequence[str], *, force: bool = False) -> list[str]:
    """Give back reservations; with ``force`` also those of others, and locks that processes hold. Return what was done.

    A process whose lock is broken finds out before its next exchange. Raises InUseError where force is needed.
    """
    place = folder()
    done: list[str] = []
    with taking_turns(place):
        for device in devices:
            reserved = read(place / (file_name(device) + RESERVATION))
            held = living(place / (file_name(device) + LOCK))
            if not force and reserved is not None and reserved.owner != owner() and (reserved.until or 0) > time.time():
                raise in_use(device, reserved)
            if not force and held is not None and reserved is None:
                raise in_use(device, held)
        for device in devices:
            path = place / (file_name(device) + RESERVATION)
            if (reserved := read(path)) is not None:
                path.unlink(missing_ok=True)
                done.append(f"{device}: no longer {reserved}")
            path = place / (file_name(device) + LOCK)
            held = read(path)
            if force and held is not None:
                _break(path, held)
                done.append(f"{device}: taken from {held}")
    return done


def _break(path: Path, held: Holder) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        # Its holder keeps this file open, and reads in it who it was.
        write(descriptor, replace(held, broken_by=f"{owner()} on {socket.gethostname()}, process {os.getpid()}"))
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def in_words(devices: Sequence[str]) -> str:
    """Say who holds or has reserved any of some devices; "" where nobody does, or nobody can tell."""
    try:
        rows = {state: holder for state, holder in listing() if holder.device in devices}
    except ConfigError:
        return ""
    if "held" in rows:
        return f"held by {rows['held']}"
    return str(rows["reserved"]) if "reserved" in rows else ""


def listing() -> list[tuple[str, Holder]]:
    """Return all locks and reservations: (state, holder), state "held", "stale" or "reserved"."""
    place = folder()
    rows: list[tuple[str, Holder]] = []
    with taking_turns(place):
        for path in sorted(place.iterdir()):
            found = read(path)
            if found is None:
                continue
            if path.suffix == RESERVATION and found.until is not None and found.until > time.time():
                rows.append(("reserved", found))
            elif path.suffix == LOCK:
                rows.append(("held" if living(path) is not None else "stale", found))
    return rows
