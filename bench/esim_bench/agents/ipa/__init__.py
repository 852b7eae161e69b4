"""The IoT Profile Assistant (SGP.32 3): it fetches what eIMs have for the eUICC, and brings back what came of it.

Its names are loaded when they are first used: a rack file mentions the settings, and needs nothing else of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from esim_bench.agents.ipa.ipa import Ipa
    from esim_bench.agents.ipa.report import Done, PollReport
    from esim_bench.agents.ipa.settings import IpaSettings
    from esim_bench.agents.ipa.state import MemoryState, StateStore

__all__ = ["Done", "Ipa", "IpaSettings", "MemoryState", "PollReport", "StateStore"]

_HOMES = {
    "Done": "report",
    "Ipa": "ipa",
    "IpaSettings": "settings",
    "MemoryState": "state",
    "PollReport": "report",
    "StateStore": "state",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    return value
