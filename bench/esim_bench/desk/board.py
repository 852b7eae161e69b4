"""What is known of each slot just now, as values that any thread may look at."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from esim_bench.desk.api import ProfileView, Trouble
from esim_bench.rack.model import Rack, SlotSpec

Power = Literal["on", "off", "unknown"]
Activity = Literal["idle", "by hand", "run"]
BAD: frozenset[str] = frozenset(("FAIL", "ERROR", "TIMEOUT", "ABORTED"))
"""Outcomes that somebody must look at."""


@dataclass(frozen=True, slots=True)
class SlotView:
    """One slot as it was last seen."""

    name: str
    form_factor: str
    module: str = ""
    simulated: bool = True
    protected: bool = False
    eid: str = ""
    profiles: tuple[ProfileView, ...] = ()
    operator: str = ""
    """The network's name, as the modem gave it."""
    registration: str = ""
    """"home", "roaming", "searching", "denied", ...; "" where no modem said anything."""
    signal_dbm: int | None = None
    power: Power = "unknown"
    proof: str = ""
    """What showed the last cut of the power."""
    activity: Activity = "idle"
    doing: str = ""
    """The step of the run, or the job by hand."""
    scenario: str = ""
    """Of the run that goes on, else of the last one."""
    run: str = ""
    """Its id in the history."""
    steps_done: int = 0
    foreign: bool = False
    """Another process does that."""
    outcome: str = ""
    """Of the last run that ended on the slot."""
    outcome_at_ns: int = 0
    reason: str = ""
    """Why it was not good: the first step that failed, and its words."""
    trouble: Trouble | None = None
    journal: Path | None = None
    """The newest one."""
    apdus: int = 0
    """In that journal."""
    errors: int = 0
    at_ns: int = 0
    """When the slot was last heard of, of the wall clock."""
    progress: tuple[int, int] | None = None
    """How much is done, of how much: segments of a download, or steps of a run where an earlier one tells."""
    question: str = ""
    """What a run of our own wants its operator to do there, and waits for."""

    @property
    def enabled(self) -> ProfileView | None:
        """Return the enabled profile, where it is known."""
        return next((profile for profile in self.profiles if profile.state == "enabled"), None)

    @property
    def problem(self) -> bool:
        """Tell whether somebody must look at it."""
        return self.trouble is not None or bool(self.question) or (self.activity != "run" and self.outcome in BAD)

    @classmethod
    def of(cls, spec: SlotSpec) -> SlotView:
        """Return what the rack file says."""
        return cls(
            spec.name,
            spec.form_factor.value,
            Path(spec.module).stem if spec.module else "",
            spec.simulated,
            spec.protected,
        )


class Board:
    """All slots of a rack. Any thread may look; one thread at a time puts."""

    def __init__(self, rack: Rack) -> None:
        self._views = {spec.name: SlotView.of(spec) for spec in rack.slots}
        self._lock = threading.Lock()
        self.trouble: Trouble | None = None
        """What is wrong with the watching itself: the history, the disk."""

    def slot(self, name: str) -> SlotView:
        """Return a slot. Raises KeyError for one that is not of the rack."""
        return self._views[name]

    def slots(self) -> list[SlotView]:
        """Return all slots in the rack's order."""
        with self._lock:
            return list(self._views.values())

    def put(self, views: Iterable[SlotView]) -> None:
        """Replace what is known of slots."""
        with self._lock:
            for view in views:
                self._views[view.name] = view
