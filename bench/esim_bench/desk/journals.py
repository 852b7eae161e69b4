"""The journals that tell of a rack's slots: which there are, their indexes, and whether they still grow."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from esim_bench.trace.index import TraceIndex

Origin = Literal["run", "by hand", "file"]
OPEN: Final = 96
"""Indexes that stay open without being looked at: each has two descriptors, a process has 1024 of them."""
FIRST: Final = 4
"""Steps of a journal that are indexed at once when it is opened, so that there is something to be shown."""
SESSIONS: Final = 20
"""Sessions of work by hand whose journals are listed."""


@dataclass(frozen=True, slots=True)
class JournalSource:
    """A journal of one slot."""

    path: Path
    slot: str
    origin: Origin
    run: str | None = None
    """The run that it belongs to, by its id in the history."""
    since_ns: int = 0
    """When it began, of the wall clock."""
    live: bool = False
    """Somebody writes to it just now."""


class Journals:
    """Which journals there are, by slot. Any thread may ask; one adds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sources: dict[Path, JournalSource] = {}
        self._by_slot: dict[str, tuple[JournalSource, ...]] = {}

    def of(self, slot: str) -> tuple[JournalSource, ...]:
        """Return the journals of a slot, the newest last."""
        with self._lock:
            return self._by_slot.get(slot, ())

    def get(self, path: Path) -> JournalSource | None:
        """Return a journal by its path."""
        return self._sources.get(path)

    def all(self) -> list[JournalSource]:
        """Return all of them."""
        return list(self._sources.values())

    def put(self, sources: Iterable[JournalSource]) -> None:
        """Add journals, or replace what is known of them."""
        changed = [source for source in sources if self._sources.get(source.path) != source]
        with self._lock:
            for source in changed:
                self._sources[source.path] = source
            self._sort({source.slot for source in changed})

    def drop(self, paths: Iterable[Path]) -> None:
        """Forget journals."""
        with self._lock:
            gone = [source for path in paths if (source := self._sources.pop(path, None)) is not None]
            self._sort({source.slot for source in gone})

    def end(self, path: Path) -> None:
        """Take it that nobody writes to a journal any more."""
        source = self._sources.get(path)
        if source is not None and source.live:
            self.put([replace(source, live=False)])

    def _sort(self, slots: Iterable[str]) -> None:
        for slot in slots:
            found = [source for source in self._sources.values() if source.slot == slot]
            # What is written to just now is newer than what has ended, also when it began earlier.
            self._by_slot[slot] = tuple(sorted(found, key=lambda one: (one.live, one.since_ns, str(one.path))))


class Indexes:
    """The indexes of journals, opened once for all who read them, and kept up to date for as long as somebody does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: weakref.WeakValueDictionary[Path, TraceIndex] = weakref.WeakValueDictionary()
        self._kept: OrderedDict[Path, TraceIndex] = OrderedDict()
        self._turn = 0

    def open(self, path: Path) -> TraceIndex:
        """Return the index of a journal. Raises ConfigError, OSError."""
        with self._lock:
            found = self._open.get(path)
        if found is None:
            made = TraceIndex(path)
            made.advance(FIRST)  # nobody else has it yet
            with self._lock:
                found = self._open.setdefault(path, made)
        with self._lock:
            self._kept[path] = found
            self._kept.move_to_end(path)
            while len(self._kept) > OPEN:
                # Who still reads it holds it; it is closed when nobody does.
                self._kept.popitem(last=False)
        return found

    def forget(self, path: Path) -> None:
        """Let an index go, because its file is another one now."""
        with self._lock:
            self._kept.pop(path, None)
            self._open.pop(path, None)

    def all(self) -> list[tuple[Path, TraceIndex]]:
        """Return those that are open."""
        with self._lock:
            return list(self._open.items())

    def advance(self, budget: float) -> tuple[bool, dict[Path, OSError]]:
        """Take in what was written, for ``budget`` seconds; tell whether more waits, and what could not be read."""
        waiting = self.all()
        failed: dict[Path, OSError] = {}
        deadline = time.monotonic() + budget
        # Turn by turn, so that one journal of millions of records does not keep the others waiting.
        self._turn += 1
        start = self._turn % len(waiting) if waiting else 0
        waiting = waiting[start:] + waiting[:start]
        while waiting:
            behind = []
            for path, index in waiting:
                try:
                    if index.behind and index.advance() and index.behind:
                        behind.append((path, index))
                except OSError as exc:
                    failed[path] = exc
                if time.monotonic() > deadline:
                    return True, failed
            waiting = behind
        return False, failed

    def close(self) -> None:
        """Let all go."""
        with self._lock:
            self._kept.clear()


def by_hand(folder: Path, slots: frozenset[str]) -> list[JournalSource]:
    """Return the journals of work by hand in a rack's folder: of its last sessions. Raises OSError."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())[-SESSIONS:]
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        try:
            entries = [(entry.name, entry.stat()) for entry in os.scandir(folder / name)]
        except FileNotFoundError:
            continue
        for entry, status in entries:
            slot = slot_of(entry, slots)
            if slot is not None:
                found.append(JournalSource(folder / name / entry, slot, "by hand", None, began_ns(status)))
    return found


def slot_of(name: str, slots: frozenset[str]) -> str | None:
    """Return the slot that a journal by hand is of, by its file's name: "A1.pcapng", "A1-2.pcapng"."""
    stem, dot, suffix = name.rpartition(".")
    if not dot or suffix != "pcapng" or stem.startswith("."):
        return None
    if stem in slots:
        return stem
    head, _, number = stem.rpartition("-")
    return head if number.isdigit() and head in slots else None


def began_ns(status: os.stat_result) -> int:
    """Return when a file was made, as far as its system tells."""
    born: float | None = getattr(status, "st_birthtime", None)
    return int(born * 1e9) if born is not None else min(status.st_ctime_ns, status.st_mtime_ns)
