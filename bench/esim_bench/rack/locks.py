"""Who holds a device: a locked file for each, in a folder that all users and all racks of this machine share.

The kernel frees the lock when its process ends, however it ends. What stands in the file tells who it is. A reservation
is a file beside it that outlives its command; it has an owner and an end (``reservations``).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from esim_bench.errors import ConfigError, InUseError
from esim_bench.rack.holder import Holder, owner

LOCKS_VARIABLE: Final = "ESIM_BENCH_LOCKS"
MACHINE_WIDE: Final = (Path("/run/lock/esim-bench"), Path("/var/lock/esim-bench"))
PATIENCE: Final = 10.0
"""Seconds that one waits for who is just taking or giving back a lock: an instant, unless that process is stopped."""
LOCK, RESERVATION = ".lock", ".reserved"
MODE: Final = 0o666
"""Everybody who works at the bench may look, take over what is stale, and break a lock when told to."""
_TURNS: Final = ".turns"


def folder() -> Path:
    """Return the folder of the locks, made where it was missing: ``$ESIM_BENCH_LOCKS``, else one for the whole machine,
    else one of this user's. Raises ConfigError."""
    chosen = os.environ.get(LOCKS_VARIABLE)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    places = (
        [Path(chosen).absolute()] if chosen else [*MACHINE_WIDE, *([Path(runtime, "esim-bench")] if runtime else [])]
    )
    trouble = ""
    for place in places:
        try:
            if not place.is_dir():
                place.mkdir(parents=bool(chosen), exist_ok=True)
                # Without the sticky bit: a lock that its owner left behind can be removed by others.
                place.chmod(0o777)
        except OSError as exc:
            trouble = f"{place}: {exc.strerror}"
            continue
        if os.access(place, os.R_OK | os.W_OK | os.X_OK):
            return place
        trouble = f"{place}: not writable"
    raise ConfigError(
        "no folder for the locks of devices", found=trouble, hint=f"set {LOCKS_VARIABLE} to one that all users share"
    )


@dataclass(slots=True)
class _Held:
    path: Path
    descriptor: int
    identity: tuple[int, int]


@dataclass(slots=True)
class DeviceLocks:
    """Locks on some devices, until ``release`` or the end of the process."""

    devices: tuple[str, ...]
    stale: tuple[str, ...] = ()
    """What was found of holders that are no more, in words."""
    _held: list[_Held] = field(default_factory=list)

    def check(self) -> None:
        """Do nothing while the locks are ours; raise InUseError when somebody took one away. A few microseconds."""
        for one in self._held:
            try:
                status = os.stat(one.path)
            except OSError:
                status = None
            if status is None or (status.st_dev, status.st_ino) != one.identity:
                raise self._taken(one)

    @property
    def intact(self) -> bool:
        """Tell whether nobody took a lock away."""
        try:
            self.check()
        except InUseError:
            return False
        return True

    def _taken(self, one: _Held) -> InUseError:
        mine, now = _read(one.descriptor), read(one.path)
        who = now or (mine.broken_by if mine is not None and mine.broken_by else None)
        device = mine.device if mine is not None else one.path.stem
        return InUseError(
            f"the lock on {device} was taken away",
            expected="it to be ours until the end",
            found=f"broken by {who}" if who else "no lock file any more",
            hint="nothing more is sent to the device; esim-bench rack locks shows who has it",
        )

    def release(self) -> None:
        """Give all back; a second time does nothing. Never raises."""
        held, self._held = self._held, []
        if not held:
            return
        try:
            with taking_turns(held[0].path.parent):
                for one in held:
                    _unlink(one)
        except (OSError, ConfigError):
            pass  # what stands in the files is of a process that has let go: the next one takes it over
        for one in held:
            with suppress(OSError):
                os.close(one.descriptor)


def _unlink(one: _Held) -> None:
    with suppress(OSError):
        status = os.stat(one.path)
        if (status.st_dev, status.st_ino) == one.identity:
            one.path.unlink()


def take(
    devices: Sequence[str],
    *,
    slot: str = "",
    note: str = "",
    run: str | None = None,
    wait: float = 0.0,
    place: Path | None = None,
) -> DeviceLocks:
    """Lock devices, all or none; what is held is waited for as long as ``wait`` says, in seconds.

    A file of a process that is no more is taken over: ``stale`` of the result tells of it. ``place``: another folder
    than the machine's. Raises InUseError that names the holder, ConfigError where the folder cannot be used.
    """
    if not devices:
        return DeviceLocks(())
    place = place or folder()
    end = time.monotonic() + wait
    while True:
        try:
            with taking_turns(place):
                return _take_all(place, sorted(set(devices)), slot, note, run)
        except InUseError:
            if time.monotonic() >= end:
                raise
        time.sleep(0.05)


def _take_all(place: Path, devices: list[str], slot: str, note: str, run: str | None) -> DeviceLocks:
    locks = DeviceLocks(tuple(devices))
    stale: list[str] = []
    try:
        for device in devices:
            respect_reservation(place, device)
            path = place / (file_name(device) + LOCK)
            descriptor, told = _open_locked(path, device)
            stale += [text for text in told if text not in stale]
            status = os.fstat(descriptor)
            locks._held.append(_Held(path, descriptor, (status.st_dev, status.st_ino)))
            write(descriptor, Holder.here(device, slot=slot, note=note, run=run))
    except BaseException:
        for one in locks._held:
            _unlink(one)
            os.close(one.descriptor)
        raise
    locks.stale = tuple(stale)
    return locks


def _open_locked(path: Path, device: str) -> tuple[int, list[str]]:
    """Open the file of a device with its lock. Raises InUseError, ConfigError."""
    stale: list[str] = []
    while True:
        descriptor = _make(path)
        try:
            free = _flock(descriptor, path)
            found = _read(descriptor)
            if free and (found is None or found.gone or found.same_machine):
                # The kernel freed it: whoever stands in the file is no more, even where its number lives on.
                return descriptor, stale + ([f"{device} was left locked by {found}"] if found is not None else [])
            if found is not None and found.gone:
                # A child of the holder still has the file open; the holder itself is no more.
                stale.append(f"{device} was left locked by {found}, and is still open in a child of it")
                path.unlink(missing_ok=True)
            else:
                raise in_use(device, found)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _make(path: Path) -> int:
    """Open a file that all users may write, made where it was missing. Raises ConfigError."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    with suppress(FileExistsError):
        try:
            # Not to be left to O_CREAT alone: some kernels refuse that for files of other users.
            return os.open(path, flags)
        except FileNotFoundError:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, MODE)
            os.fchmod(descriptor, MODE)
            return descriptor
        except OSError as exc:
            raise ConfigError("cannot use a lock", where=str(path), found=exc.strerror) from None
    return _make(path)  # somebody was faster: then it is there


def in_use(device: str, holder: Holder | None) -> InUseError:
    """Return the error that names who holds a device, and what to do."""
    if holder is None:
        hint = "esim-bench rack locks lists who holds what"
    elif holder.until is not None:
        hint = "ask for it, wait, or esim-bench rack unlock SLOT --force"
    elif not holder.same_machine:
        hint = "its host cannot be looked at from here; if it is gone: esim-bench rack unlock SLOT --force"
    elif holder.pid == os.getpid():
        hint = "two slots of this command name the same device"
    else:
        hint = f"wait, end process {holder.pid}, or esim-bench rack unlock SLOT --force"
    what = "is reserved" if holder is not None and holder.until is not None else "is in use"
    return InUseError(f"{device} {what}", expected="a free device", found=f"held by {holder or 'somebody'}", hint=hint)


def _flock(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        if exc.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise ConfigError(
            "the folder of the locks takes no locks",
            where=str(path.parent),
            found=exc.strerror,
            hint=f"set {LOCKS_VARIABLE} to a folder on a local disk",
        ) from None
    return True


@contextmanager
def taking_turns(place: Path) -> Iterator[None]:
    """Let one process at a time change what is in the folder."""
    descriptor = _make(place / _TURNS)
    try:
        end = time.monotonic() + PATIENCE
        while not _flock(descriptor, place / _TURNS):
            if time.monotonic() > end:
                raise ConfigError(
                    "somebody keeps the folder of the locks to himself",
                    where=str(place),
                    hint="a stopped esim-bench process? fuser DIRECTORY names it",
                )
            time.sleep(0.005)
        yield
    finally:
        os.close(descriptor)


def file_name(device: str) -> str:
    """Return the name of a device's files, without suffix: readable, and a digest that keeps devices apart."""
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", device).strip("_.")[:64]
    return f"{readable}-{hashlib.sha256(device.encode()).hexdigest()[:8]}"


def _read(descriptor: int) -> Holder | None:
    try:
        return Holder.parse(os.pread(descriptor, 65536, 0))
    except OSError:
        return None


def read(path: Path) -> Holder | None:
    """Read who stands in a file; None where nobody does."""
    try:
        return Holder.parse(path.read_bytes())
    except OSError:
        return None


def write(descriptor: int, holder: Holder) -> None:
    """Write who holds a device into its open file."""
    text = json.dumps(holder.document()).encode()
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text + b"\n", 0)


def respect_reservation(place: Path, device: str) -> None:
    """Raise InUseError when another owner has reserved a device; what has come to its end is removed."""
    path = place / (file_name(device) + RESERVATION)
    found = read(path)
    if found is None or found.until is None:
        return
    if found.until <= time.time():
        path.unlink(missing_ok=True)
    elif found.owner != owner():
        raise in_use(device, found)


def living(path: Path) -> Holder | None:
    """Return who holds a lock now; None where nobody does, whatever stands in the file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        found = _read(descriptor)
        if found is None or found.gone:
            return None
        free = _flock(descriptor, path)
        return None if free and found.same_machine else found
    finally:
        os.close(descriptor)
