"""The way of a slot's events into its journal, and on to whoever watches the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from esim_bench.errors import BenchError, RigError
from esim_bench.events import Event
from esim_bench.trace import Journal, SecretMask

OnRecord: TypeAlias = Callable[[str, int, Event], None]
"""Told of each record after its write has returned: slot, number of the record (from 1), event without secrets."""


class SlotTrace:
    """The sink of one slot.

    A sink must not raise: its callers are drivers, deep in callbacks of a loop. A journal that cannot be written (the
    disk is full) ends the run of the slot instead: ``failure`` says why, ``on_failure`` is called once, and what
    happens after that is not recorded.
    """

    def __init__(self, journal: Journal, on_record: OnRecord | None, mask: SecretMask | None) -> None:
        """``mask`` hides secrets from who watches; the journal has its own."""
        self.failure: BenchError | None = None
        self.on_failure: Callable[[], object] = lambda: None
        self._journal = journal
        self._on_record = on_record
        self._mask = mask
        self._closed = False

    @property
    def apdus(self) -> int:
        """Return the number of APDUs in the journal."""
        return self._journal.apdus

    def emit(self, event: Event) -> None:
        """Write one record, then tell of it."""
        if self.failure is not None or self._closed:
            # A driver that was left behind may still have something to say.
            return
        try:
            self._journal.emit(event)
        except BenchError as exc:
            self._fail(exc)
            return
        if self._on_record is not None:
            if self._mask is not None:
                event, _ = self._mask.apply(event)
            self._on_record(self._journal.slot, self._journal.records, event)

    def close(self) -> None:
        """Close the journal; what comes later is not recorded."""
        self._closed = True
        try:
            self._journal.close()
        except OSError as exc:  # some file systems say only now that there was no room
            self._fail(RigError("cannot write the trace", where=str(self._journal.path), found=exc.strerror))

    def _fail(self, failure: BenchError) -> None:
        if self.failure is None:
            self.failure = failure
            if not self._closed:
                self.on_failure()
