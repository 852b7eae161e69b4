"""The IoT Profile Assistant (SGP.32 3): it fetches what eIMs have for the eUICC, and brings back what came of it."""

from __future__ import annotations

from esim_bench.agents.ipa.ipa import Ipa
from esim_bench.agents.ipa.report import Done, PollReport
from esim_bench.agents.ipa.settings import IpaSettings
from esim_bench.agents.ipa.state import MemoryState, StateStore

__all__ = ["Done", "Ipa", "IpaSettings", "MemoryState", "PollReport", "StateStore"]
