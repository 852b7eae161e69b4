"""Signs that say by shape what colours say too."""

from __future__ import annotations

from typing import Final, NamedTuple


class Sign(NamedTuple):
    """A sign of one cell, and the theme's colour that goes with it."""

    sign: str
    colour: str
    """A variable of the theme, without the dollar: "success"."""


OUTCOMES: Final = {
    "PASS": Sign("✓", "text-success"),
    "FAIL": Sign("✗", "text-error"),
    "ERROR": Sign("!", "text-error"),
    "TIMEOUT": Sign("⧖", "text-warning"),
    "ABORTED": Sign("■", "text-warning"),
    "SKIPPED": Sign("–", "text-muted"),
}
RUNNING: Final = Sign("▶", "text-accent")
ON: Final = Sign("●", "text-success")
OFF: Final = Sign("○", "text-muted")
UNKNOWN: Final = Sign("·", "text-muted")
PROBLEM: Final = Sign("▲", "text-error")


def outcome(name: str | None) -> Sign:
    """Return the sign of an outcome; None: still running; "": none yet."""
    return RUNNING if name is None else OUTCOMES.get(name, UNKNOWN)


def signal_bars(dbm: int | None) -> str:
    """Return a signal strength in four cells: "▂▄▆█" is good (-75 dBm or better), spaces are missing."""
    if dbm is None:
        return "    "
    steps = sum(dbm >= limit for limit in (-113, -100, -88, -75))
    return "▂▄▆█"[:steps].ljust(4)
