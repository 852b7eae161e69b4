"""Which proof of power-off a slot gets: what its rack file asks for, or what its parts can give best."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from esim_bench import data
from esim_bench.data import Dialect
from esim_bench.errors import ConfigError
from esim_bench.ports import (
    CardLink,
    CardPresence,
    DriverContext,
    LineWatch,
    ModemDriver,
    ModemLink,
    PowerDriver,
    PowerSwitch,
    Proof,
    load_driver,
)
from esim_bench.rack.model import PowerTable, SlotSpec
from esim_bench.rack.power import BootLines, PowerTiming, ProvenPower, boot_lines, evidence_of

_USB = re.compile(r"^usb:(\d+-\d+(?:\.\d+)*)(?::.*)?$")
_BOOT_SLACK = 10.0
"""Seconds that a boot may take longer than its row in hw/modules says."""


@dataclass(frozen=True, slots=True)
class PowerPlan:
    """What a slot's cuts are proven by, and the times."""

    proof: Proof
    usb: str | None
    timing: PowerTiming


def plan(spec: SlotSpec, table: PowerTable, proofs: frozenset[Proof]) -> PowerPlan:
    """Return the plan of a slot; ``proofs``: what its switch gives itself. Raises ConfigError for an impossible one."""
    dialect = data.module(spec.module) if spec.module is not None else None
    usb = table.usb or usb_place(spec, table)
    impossible = {proof: _missing(proof, spec, dialect, usb, proofs) for proof in Proof}
    proof = table.proof or _default(spec, impossible, proofs)
    reason = impossible[proof]
    if reason is not None:
        good = ", ".join(one.value for one in Proof if impossible[one] is None)
        raise ConfigError(f"power: proof {proof.value} is impossible here", expected=f"one of {good}", found=reason)
    return PowerPlan(proof, usb, _timing(table, proof, dialect))


def _default(spec: SlotSpec, impossible: Mapping[Proof, str | None], proofs: frozenset[Proof]) -> Proof:
    order = [Proof.CARD_GONE] if spec.card is not None else []
    order += [proof for proof in Proof if proof in proofs and proof not in order]
    order += [Proof.BOOT_URC, Proof.USB_GONE]
    for proof in order:
        if impossible[proof] is None:
            return proof
    raise ConfigError(
        "power: nothing of this slot proves a cut",
        expected='proof = "usb-gone" with usb = "1-1.3", or "none" where you look yourself',
        found="no reader, no meter, no module with boot lines",
    )


def _missing(
    proof: Proof, spec: SlotSpec, dialect: Dialect | None, usb: str | None, proofs: frozenset[Proof]
) -> str | None:
    """Say why a proof is impossible; None where it can come."""
    if proof in proofs or proof is Proof.NONE:
        return None
    match proof:
        case Proof.CARD_GONE:
            return None if spec.card is not None else "the card is behind a modem, and no reader sees it"
        case Proof.USB_GONE:
            return None if usb is not None else "nobody knows which USB device goes with the power"
        case Proof.CURRENT_BELOW:
            return "the driver measures no current"
        case Proof.BOOT_URC:
            if spec.modem is None:
                return "no modem table"
            if dialect is None or not boot_lines(dialect):
                return f"module {spec.module}: no boot line is known of it"
    return None


def _timing(table: PowerTable, proof: Proof, dialect: Dialect | None) -> PowerTiming:
    known = PowerTiming()
    timeout = known.proof_timeout_s
    if proof is Proof.BOOT_URC and dialect is not None:
        first = min(urc.at_s for urc in dialect.boot.urcs if urc.line in boot_lines(dialect))
        timeout = first + dialect.boot.jitter_s + _BOOT_SLACK
    return PowerTiming(
        off_s=known.off_s if table.off_s is None else table.off_s,
        on_s=known.on_s if table.on_s is None else table.on_s,
        proof_timeout_s=table.proof_timeout_s or timeout,
    )


def usb_place(spec: SlotSpec, table: PowerTable) -> str | None:
    """Return where the slot's own USB device hangs, as far as its rack file tells: ``1-1.3``."""
    for part, key in ((spec.modem, "port"), (spec.card, "reader")):
        if part is not None and (found := _USB.match(str(part.settings().get(key, "")))):
            return found[1]
    hub = table.settings()
    location, port = hub.get("location"), hub.get("port")
    if isinstance(location, str) and isinstance(port, int) and re.fullmatch(r"\d+-\d+(\.\d+)*", location):
        return f"{location}.{port}"
    return None


def open_power(
    spec: SlotSpec, table: PowerTable, context: DriverContext, card: CardLink, modem: ModemLink | None
) -> ProvenPower:
    """Open a slot's power with its proof (no I/O yet). Raises ConfigError."""
    where = f"slot {spec.name}"
    switch = open_switch(table, context)
    chosen = plan(spec, table, switch.proofs)
    if chosen.proof is Proof.CARD_GONE and chosen.proof not in switch.proofs and not isinstance(card, CardPresence):
        raise ConfigError("power: proof card-gone", where=where, expected="a reader that sees whether a card is there")
    boot: BootLines | None = None
    if chosen.proof is Proof.BOOT_URC:
        if not isinstance(modem, LineWatch) or not isinstance(context.dialect, Dialect):
            raise ConfigError("power: proof boot-urc", where=where, expected="a modem whose lines can be listened to")
        boot = BootLines(modem, context.dialect)
    return ProvenPower(
        switch,
        context.sink,
        proof=chosen.proof,
        evidence=evidence_of(chosen.proof, switch, card, chosen.usb),
        boot=boot,
        timing=chosen.timing,
        name=f"{table.driver} {_named(table.settings())}".strip(),
    )


def open_switch(table: PowerTable, context: DriverContext) -> PowerSwitch:
    """Open the driver's switch alone (no I/O yet). Raises ConfigError."""
    driver = load_driver(table.driver)
    if not isinstance(driver, PowerDriver):
        raise ConfigError(
            "the driver cannot serve as power", expected="a driver of a power table", found=repr(table.driver)
        )
    return driver.open_power(table.settings(), context)


def check_power(spec: SlotSpec, table: PowerTable, context: DriverContext) -> PowerPlan:
    """Tell how a slot's cuts would be proven, opening nothing. Raises ConfigError for what cannot work."""
    if spec.modem is not None:
        driver = load_driver(spec.modem.driver)
        if isinstance(driver, ModemDriver):
            context = replace(context, modem=driver.open_modem(spec.modem.settings(), context)[0])
    return plan(spec, table, open_switch(table, context).proofs)


def _named(settings: Mapping[str, Any]) -> str:
    """Say which switch it is, for the time line: the values that name a place."""
    keys = ("location", "usb_path", "serial", "resource", "port", "channel", "line", "method")
    return " ".join(f"{key} {settings[key]}" for key in keys if key in settings)
