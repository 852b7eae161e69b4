"""The job that reads what an eUICC says of itself, as a tree of names and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from esim_bench.codec.es10 import AuthorisationRule
from esim_bench.codec.iot_info import IotEuiccInfo2
from esim_bench.desk.api import EuiccView
from esim_bench.desk.profile_views import network_text
from esim_bench.rack.slot import Slot
from esim_bench.rack.trust import Trust, ci_name
from esim_bench.trace.tree import Node


async def info(slot: Slot) -> EuiccView:
    """Read EUICCInfo1 and EUICCInfo2, configured addresses, authorisation table. Raises DeviceError."""
    eid = await slot.lpa.eid()
    info1, info2 = await slot.lpa.info1(), await slot.lpa.info()
    trust = Trust.of(info1, slot.world.ci_key_id)
    default, root = await slot.lpa.addresses()
    document = info2.document()
    for key in ("ci_keys_verification", "ci_keys_signing"):
        del document[key]
    sections = [
        _section("EUICCInfo2", document),
        _cis("CIs whose servers it accepts", trust.verification, trust.own),
        _cis("CIs under which it signs", trust.signing, trust.own),
        _section("Configured addresses", {"default_smdp": default, "root_smds": root}),
        _rules(await slot.lpa.authorisation_table()),
        _section(
            "Bench",
            {
                "iccid": await slot.card.read_iccid(),
                "form_factor": slot.form_factor.value,
                "contradictions": await slot.form_factor_contradictions() or "none",
                "served_by_bench": "yes" if trust.served_by_bench else "no: its CIs are not that of our SM-DP+",
            },
        ),
    ]
    iot = IotEuiccInfo2.parse(info2)
    if iot.iot is not None:
        values = {
            "sgp32_versions": list(iot.iot.version_texts),
            "ipa_mode": iot.ipa_mode_name,
            "ecall": iot.iot.ecall,
            "fallback": iot.iot.fallback,
        }
        sections.insert(1, _section("SGP.32", values))
    return EuiccView(eid=eid, sections=sections)


def _section(name: str, values: dict[str, Any]) -> Node:
    return Node(name=name, children=[Node(name=key.replace("_", " "), value=_text(one)) for key, one in values.items()])


def _text(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _cis(name: str, keys: Sequence[bytes], own: bytes | None) -> Node:
    return Node(
        name=name,
        value=f"{len(keys)}",
        children=[Node(name=key.hex().upper(), value=ci_name(key, own)) for key in keys],
    )


def _rules(table: list[AuthorisationRule]) -> Node:
    entries = []
    for rule in table:
        operators = [
            Node(
                name=network_text(mcc_mnc),
                value=f"GID1 {gid1.hex().upper() if gid1 is not None else 'any'}, "
                f"GID2 {gid2.hex().upper() if gid2 is not None else 'any'}",
            )
            for mcc_mnc, gid1, gid2 in rule.operators
        ]
        note = "consent is asked for" if rule.consent_required else "consent is not asked for"
        entries.append(Node(name=", ".join(rule.rules) or "no rule", note=note, children=operators))
    empty = "" if entries else "empty: no profile may carry policy rules"
    return Node(name="Rules Authorisation Table", value=empty, children=entries)
