"""What happens at a slot by hand: into a journal, and to whoever listens just now."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from esim_bench import clock
from esim_bench.desk.api import Trouble
from esim_bench.errors import BenchError, RigError
from esim_bench.events import ApduEvent, AtEvent, AtrEvent, Event, MarkEvent, PowerAction, PowerEvent
from esim_bench.rack.model import SlotSpec
from esim_bench.trace import ApduDecoder, Journal, SecretMask

COMMENTED: Final = 20_000
"""APDUs up to which a journal gets their meanings when it is closed: more would take too long."""
_HINT: Final = "make room, or set ESIM_BENCH_HOME to another disk; until then what is done here leaves no trace"


@dataclass(frozen=True, slots=True)
class Heard:
    """One event, with the meaning of an APDU."""

    event: Event
    meaning: str = ""


class Recorder:
    """The sink of one slot; must not raise. ``path``: of its journal, which begins with the first job.

    ``opened``: told of each journal that begins; ``failed``: why none can be written now, None when it can again.
    """

    def __init__(
        self,
        spec: SlotSpec,
        path: Path,
        opened: Callable[[Path], None],
        failed: Callable[[Trouble | None], None],
    ) -> None:
        self.proof = ""
        """What proved the last change of the power."""
        self.off = False
        """The power was cut, and has not come back."""
        self._spec = spec
        self._path = path
        self._opened = opened
        self._failed = failed
        self._journal: Journal | None = None
        self._broken = False
        self._mask = None if spec.simulated else SecretMask()
        self._decoder = ApduDecoder()
        self._taps: list[list[Heard]] = []

    def begin(self) -> None:
        """See that there is a journal to write to; where that is not possible it is told, and work goes on."""
        if self._journal is not None and self._is_there(self._journal):
            return
        self._close()
        path, number = self._path, 1
        while path.exists():
            number += 1
            path = self._path.with_name(f"{self._path.stem}-{number}{self._path.suffix}")
        try:
            self._journal = Journal.create(path, slot=self._spec.name, mask=self._mask)
        except BenchError as exc:
            self._fail(exc)
            return
        if self._broken:
            self._broken = False
            self._failed(None)
        self._opened(path)

    @staticmethod
    def _is_there(journal: Journal) -> bool:
        return os.path.exists(journal.path)

    def _fail(self, exc: BaseException) -> None:
        self._close()
        self._broken = True
        trouble = Trouble.of(exc)
        self._failed(trouble.model_copy(update={"hint": trouble.hint or _HINT}))

    def hide(self, words: Iterable[str]) -> None:
        """Keep words of a real slot out of the journal."""
        if self._mask is not None:
            self._mask.add(words)

    def emit(self, event: Event) -> None:
        """Take one event."""
        meaning = ""
        if isinstance(event, ApduEvent | AtrEvent | PowerEvent):
            meaning = self._decoder.observe(event).text
        if isinstance(event, PowerEvent):
            self._power(event)
        if self._taps and isinstance(event, ApduEvent | AtEvent):
            for tap in self._taps:
                tap.append(Heard(event, meaning))
        if self._journal is not None:
            try:
                self._journal.emit(event)
            except BenchError as exc:
                self._fail(exc)

    def _power(self, event: PowerEvent) -> None:
        match event.action:
            case PowerAction.ON:
                self.off = False
            case PowerAction.OFF:
                self.off, self.proof = True, ""
            case PowerAction.PROOF:
                self.proof = event.detail

    def mark(self, text: str) -> None:
        """Put a mark into the journal."""
        self.emit(MarkEvent(clock.wall_ns(), text))

    @contextmanager
    def tapped(self) -> Iterator[list[Heard]]:
        """Hear what crosses the border to card and modem while the block lasts."""
        heard: list[Heard] = []
        self._taps.append(heard)
        try:
            yield heard
        finally:
            self._taps.remove(heard)

    def _close(self) -> None:
        journal, self._journal = self._journal, None
        if journal is not None:
            with suppress(OSError, RigError):  # what was written stands there; comments are a courtesy
                journal.close(comments=journal.apdus <= COMMENTED and not self._broken)

    def close(self) -> None:
        """Close the journal. Blocks for a moment."""
        self._close()
