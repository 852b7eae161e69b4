"""What all tabs of a slot's screen know of it: what was seen from beside, and what was read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from esim_bench.desk.api import PowerView, ProfileView, SlotReading
from esim_bench.desk.board import Power, SlotView

if TYPE_CHECKING:
    from esim_bench.tui.app import BenchApp


@dataclass(slots=True)
class PowerKnown:
    """The state of the power, and what proves it."""

    state: Power = "unknown"
    proof: str = ""
    how: str = ""
    minimum_off_s: float = 0.0


class About:
    """One slot. ``reading`` and ``profiles`` are what the desk answered last; None: it was not asked yet."""

    def __init__(self, bench: BenchApp, name: str) -> None:
        self.bench, self.name = bench, name
        self.has_modem = self.has_ipa = False
        self.respecify()
        self.reading: SlotReading | None = None
        self.power = PowerKnown()
        self.version = 0
        """Grows with everything that may have changed the card: what was read before is old then."""
        self._profiles: list[ProfileView] | None = None
        self.view = bench.context.watch.board.slot(name)
        self.since = time.time()
        """When what is done just now began, or was first seen."""
        self._take_power(self.view)

    @property
    def profiles(self) -> Sequence[ProfileView] | None:
        """Return the profiles as far as they are known; None: they are not."""
        if self._profiles is not None:
            return self._profiles
        return self.view.profiles or None

    @property
    def eid(self) -> str:
        """Return the EID; "" where it is not known."""
        return self.view.eid or (self.reading.eid if self.reading is not None else "")

    @property
    def enabled(self) -> ProfileView | None:
        """Return the enabled profile."""
        return next((one for one in self.profiles or () if one.state == "enabled"), None)

    @property
    def in_run(self) -> bool:
        """Tell whether a run has the slot: nothing can be done by hand then."""
        return self.view.activity == "run"

    def respecify(self) -> None:
        """Look up what the rack file says of the slot."""
        spec = next(one for one in self.bench.context.rack.slots if one.name == self.name)
        self.has_modem = spec.module is not None or spec.modem is not None
        self.has_ipa = spec.iot

    def refresh(self) -> bool:
        """Look at the board again; tell whether anything is new."""
        old, new = self.view, self.bench.context.watch.board.slot(self.name)
        if new == old:
            return False
        self.view = new
        if (old.activity, old.scenario, old.run) != (new.activity, new.scenario, new.run) or (
            new.activity == "by hand" and (old.doing, old.progress is None) != (new.doing, new.progress is None)
        ):
            self.since = time.time()
        if old.activity == "run" and new.activity != "run":
            self.changed()
        if (old.power, old.proof) != (new.power, new.proof):
            self._take_power(new)
        if new.profiles and states(old.profiles) != states(new.profiles):
            self._seen(new.profiles)
        return True

    def _take_power(self, view: SlotView) -> None:
        if view.power != "unknown":
            self.power.state, self.power.proof = view.power, view.proof

    def _seen(self, profiles: Sequence[ProfileView]) -> None:
        """Take in what the trace told of profiles: states are true, names may be missing there."""
        if self._profiles is None or states(self._profiles) == states(profiles):
            return
        if {one.iccid for one in profiles} != {one.iccid for one in self._profiles}:
            self.changed()
            return
        now = {one.iccid: one.state for one in profiles}
        self._profiles = [one.model_copy(update={"state": now[one.iccid]}) for one in self._profiles]

    def changed(self) -> None:
        """Take it that what was read is old."""
        self.version += 1

    def read(self, reading: SlotReading) -> None:
        """Take in what was read in one visit."""
        self.reading = reading
        self._profiles = [*reading.profiles]

    def listed(self, profiles: Sequence[ProfileView]) -> None:
        """Take in the profiles as the eUICC listed them."""
        self._profiles = [*profiles]

    def powered(self, view: PowerView, *, switched: bool) -> None:
        """Take in what the desk says of the power; unless it was switched, what the trace proves is worth more."""
        self.power.how, self.power.minimum_off_s = view.how, view.minimum_off_s
        if switched or self.power.state == "unknown":
            self.power.state, self.power.proof = "on" if view.powered else "off", view.proof


def states(profiles: Sequence[ProfileView]) -> frozenset[tuple[str, str]]:
    """Return which profiles there are, and what state each is in."""
    return frozenset((one.iccid, one.state) for one in profiles)
