"""The driver ``replay``: ``card = { driver = "replay", journal = "A1.pcapng" }``.

Keys: ``journal`` (a trace of the bench; a path from the working folder), ``slot`` (where it holds several), ``strict``
("order": each command must be the next recorded one; "any": one recorded later will do), ``timing`` (true: answers take
as long as they took), ``source`` ("link": what the bench said to the card; "sniffed": what a sniffer heard).

``power = { driver = "replay", proof = "none" }`` is a switch that switches nothing: what followed a cut is in the
journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from esim_bench.errors import ConfigError
from esim_bench.ports import DriverContext, Proof
from esim_drivers.replay.card import ReplayCard, Strict
from esim_drivers.replay.script import SOURCES, Source, read_script
from esim_drivers.usb_device import unknown_keys

KEYS: Final = ("journal", "slot", "strict", "timing", "source")
STRICT: Final = ("order", "any")


class ReplaySwitch:
    """The power of a card that is not there."""

    @property
    def proofs(self) -> frozenset[Proof]:
        """Return none: nothing is switched."""
        return frozenset()

    async def off(self) -> None:
        """Do nothing."""

    async def on(self) -> None:
        """Do nothing."""

    async def is_off(self, proof: Proof) -> bool:
        """Return False: there is no proof."""
        return False

    async def close(self) -> None:
        """Do nothing."""


class ReplayDriver:
    """Opens journals as cards."""

    def open_card(self, spec: Mapping[str, Any], context: DriverContext) -> ReplayCard:
        """Read the journal. Raises ConfigError for an unusable table or journal."""
        unknown_keys(spec, KEYS, f"slot {context.slot}: card")
        journal, slot = spec.get("journal"), spec.get("slot")
        if not isinstance(journal, str) or not journal:
            raise ConfigError("a replay needs a journal", expected='journal = "FILE.pcapng"', found=repr(journal))
        if slot is not None and not isinstance(slot, str):
            raise ConfigError("slot of a replay", expected="the name of a slot in the journal", found=repr(slot))
        timing = spec.get("timing", False)
        if not isinstance(timing, bool):
            raise ConfigError("timing of a replay", expected="true or false", found=repr(timing))
        strict = cast(Strict, _one_of(spec, "strict", STRICT))
        script = read_script(Path(journal).expanduser(), slot, cast(Source, _one_of(spec, "source", SOURCES)))
        return ReplayCard(script, context.sink, strict=strict, timing=timing)

    def open_power(self, spec: Mapping[str, Any], context: DriverContext) -> ReplaySwitch:
        """Return a switch that does nothing. Raises ConfigError for keys of its own: it has none."""
        if spec:
            raise ConfigError("unknown key of a replay's power", expected="none", found=", ".join(sorted(spec)))
        return ReplaySwitch()


def _one_of(spec: Mapping[str, Any], key: str, known: tuple[str, ...]) -> str:
    value = spec.get(key, known[0])
    if value not in known:
        raise ConfigError(f"{key} of a replay", expected=" or ".join(known), found=repr(value))
    return str(value)


driver = ReplayDriver()
