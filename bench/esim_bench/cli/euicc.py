"""``esim-bench euicc``: one slot's eUICC, by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from esim_bench.cli import euicc_download, euicc_settings
from esim_bench.cli.common import (
    AllowDestructiveOption,
    JsonOption,
    RackOption,
    SlotArgument,
    TlsRootsOption,
    app,
    note,
    print_json,
    say,
    table,
)

if TYPE_CHECKING:
    from esim_bench.codec.es10 import ProfileInfo
    from esim_bench.codec.iot_info import IotProfileMembers
    from esim_bench.rack.slot import Slot
    from esim_bench.rack.trust import Trust

cli = app("One slot's eUICC: information, profiles, notifications.")
cli.command("download")(euicc_download.download)
cli.command("nickname")(euicc_settings.nickname)
cli.command("default-address")(euicc_settings.default_address)
cli.command("rat")(euicc_settings.rat)
cli.command("load-crl")(euicc_settings.load_crl)
cli.command("eims")(euicc_settings.eims)
cli.command("memory-reset")(euicc_settings.memory_reset)

ProfileArgument = Annotated[str, typer.Argument(metavar="ICCID", help="ICCID of the profile, or its end if unique.")]
NoRefreshOption = Annotated[bool, typer.Option("--no-refresh", help="Ask the eUICC for no REFRESH.")]


@cli.command("info")
def info(slot: SlotArgument, rack: RackOption = None, json: JsonOption = False) -> None:
    """Show who the eUICC is and what it can do."""
    from esim_bench.cli.session import on_slot

    async def job(opened: Slot) -> tuple[dict[str, Any], Trust]:
        details = await opened.lpa.info()
        trust = await opened.trust()
        document = {
            "slot": opened.name,
            "form_factor": opened.form_factor.value,
            "eid": await opened.lpa.eid(),
            "iccid": await opened.card.read_iccid(),
            **details.document(),
            **_iot(details.raw),
            "cis": trust.document(),
            "served_by_bench": trust.served_by_bench,
            "contradictions": await opened.form_factor_contradictions(),
        }
        return document, trust

    document, trust = on_slot(rack, slot, job)
    if json:
        print_json(document)
        return
    from esim_bench.rack.trust import ci_name

    shown = {key: value for key, value in document.items() if key != "cis"}
    shown["ci_keys_verification"] = [ci_name(key, trust.own) for key in trust.verification]
    shown["ci_keys_signing"] = [ci_name(key, trust.own) for key in trust.signing]
    shown["served_by_bench"] = "yes" if trust.served_by_bench else "no: its CIs are not that of our SM-DP+"
    for key, value in shown.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        say(f"{key.replace('_', ' '):<28} {'-' if text in (None, '') else text}")


def _iot(info2: bytes) -> dict[str, Any]:
    """Return what SGP.32 adds to EUICCInfo2, nothing for an eUICC without it."""
    from esim_bench.codec.iot_info import IotEuiccInfo2

    found = IotEuiccInfo2.parse(info2)
    if found.iot is None:
        return {}
    return {
        "sgp32_versions": list(found.iot.version_texts),
        "ipa_mode": found.ipa_mode_name or None,
        "ecall": "supported" if found.iot.ecall else "no",
        "fallback": "supported" if found.iot.fallback else "no",
    }


@cli.command("profiles")
def profiles(slot: SlotArgument, rack: RackOption = None, json: JsonOption = False) -> None:
    """List the profiles and their states."""
    from esim_bench.cli.session import on_slot

    async def job(opened: Slot) -> list[dict[str, Any]]:
        if opened.spec.iot:
            return [_document(one.profile) | _iot_document(one.iot) for one in await opened.lpa.iot_profiles()]
        return [_document(profile) for profile in await opened.lpa.profiles()]

    rows = on_slot(rack, slot, job)
    if json:
        print_json(rows)
        return
    keys = {"ICCID": "iccid", "state": "state", "class": "class", "provider": "provider", "name": "name"}
    keys |= {"nickname": "nickname", "ISD-P": "isdp_aid"}
    if any("role" in row for row in rows):
        keys["role"] = "role"
    table(list(keys), [[row[key] or "-" for key in keys.values()] for row in rows])


def _iot_document(iot: IotProfileMembers) -> dict[str, Any]:
    roles = {
        "fallback": iot.fallback_attribute,
        "may be fallback": bool(iot.fallback_allowed) and not iot.fallback_attribute,
        "emergency": bool(iot.ecall_indication),
    }
    return {"role": ", ".join(name for name, is_it in roles.items() if is_it) or None}


def _document(profile: ProfileInfo) -> dict[str, Any]:
    from esim_bench.codec.es10 import iccid_to_text

    return {
        "iccid": iccid_to_text(profile.iccid) if profile.iccid else None,
        "state": profile.state_name,
        "class": profile.class_name,
        "provider": profile.service_provider,
        "name": profile.profile_name,
        "nickname": profile.nickname,
        "isdp_aid": profile.isdp_aid.hex().upper() if profile.isdp_aid else None,
    }


@cli.command("enable")
def enable(
    slot: SlotArgument,
    iccid: ProfileArgument,
    no_refresh: NoRefreshOption = False,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Enable a profile, bring the card up again and check its ICCID."""
    _switch("enable", slot, iccid, not no_refresh, rack, json)


@cli.command("disable")
def disable(
    slot: SlotArgument,
    iccid: ProfileArgument,
    no_refresh: NoRefreshOption = False,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Disable a profile and bring the card up again."""
    _switch("disable", slot, iccid, not no_refresh, rack, json)


def _switch(what: str, slot: str, iccid: str, refresh: bool, rack: str | None, json: bool) -> None:
    from esim_bench.agents.switch import disable_profile, switch_profile
    from esim_bench.cli.session import on_slot

    action = switch_profile if what == "enable" else disable_profile

    async def job(opened: Slot) -> dict[str, Any]:
        profile = await pick(opened, iccid)
        assert profile.iccid is not None
        await action(opened.lpa, profile.iccid, refresh=refresh, recover=opened.recover)
        return {"slot": opened.name, "profiles": [_document(p) for p in await opened.lpa.profiles()]}

    document = on_slot(rack, slot, job)
    if json:
        print_json(document)
    else:
        for row in document["profiles"]:
            say(f"{row['iccid']}  {row['state']}  {row['name']}")
        note("notifications wait: esim-bench euicc notifications SLOT --deliver")


@cli.command("delete")
def delete(
    slot: SlotArgument,
    iccid: ProfileArgument,
    allow_destructive: AllowDestructiveOption = False,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Delete a disabled profile. Protected slots let go only of profiles that this bench installed."""
    from esim_bench.cli.session import on_slot
    from esim_bench.codec.es10 import iccid_to_text

    async def job(opened: Slot) -> dict[str, Any]:
        profile = await pick(opened, iccid)
        assert profile.iccid is not None
        await opened.delete(profile.iccid)
        return {"slot": opened.name, "deleted": iccid_to_text(profile.iccid)}

    document = on_slot(rack, slot, job, allow_destructive=allow_destructive)
    if json:
        print_json(document)
    else:
        say(f"deleted {document['deleted']}")


@cli.command("notifications")
def notifications(
    slot: SlotArgument,
    deliver: Annotated[bool, typer.Option("--deliver", help="Deliver them in order; acknowledged ones go.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove them undelivered; needs --seq.")] = False,
    seq: Annotated[list[int] | None, typer.Option("--seq", help="Only the one of this number; repeatable.")] = None,
    tls_roots: TlsRootsOption = None,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """List the notifications that wait on the eUICC, deliver or remove them."""
    from esim_bench.cli.session import on_slot
    from esim_bench.codec.es10 import NotificationMetadata, iccid_to_text
    from esim_bench.errors import ConfigError
    from esim_bench.rack.model import load_rack
    from esim_bench.rack.world import is_own

    if deliver and remove:
        raise ConfigError("--deliver and --remove", expected="one of them")
    if remove and not seq:
        raise ConfigError("--remove without numbers", expected="--seq N, once for each notification that is to go")

    async def waiting(opened: Slot) -> list[NotificationMetadata]:
        found = [one for one in await opened.lpa.notifications() if not seq or one.seq in seq]
        missing = sorted(set(seq or ()) - {one.seq for one in found})
        if missing:
            raise ConfigError("no notification of this number", where=slot, found=", ".join(map(str, missing)))
        return found

    async def job(opened: Slot) -> list[NotificationMetadata]:
        found = await waiting(opened)
        if deliver:
            return await opened.lpa.deliver_notifications(set(seq) if seq else None)
        for one in found if remove else ():
            await opened.lpa.remove_notification(one.seq)
        return found

    real_time = tls_roots is not None
    if deliver and not real_time and load_rack(rack).simulated:
        # A server outside this process answers on the real clock only.
        real_time = any(not is_own(one.address) for one in on_slot(rack, slot, waiting))
    state = "delivered" if deliver else "removed" if remove else "waiting"
    rows = [
        {
            "seq": n.seq,
            "operation": n.operation,
            "address": n.address,
            "iccid": iccid_to_text(n.iccid) if n.iccid else None,
            "delivered": deliver,
            "state": state,
        }
        for n in on_slot(rack, slot, job, tls_roots=tls_roots, real_time=real_time)
    ]
    if json:
        print_json(rows)
    else:
        table(
            ["seq", "operation", "ICCID", "address", "state"],
            [[r["seq"], r["operation"], r["iccid"] or "-", r["address"], r["state"]] for r in rows],
        )


async def pick(slot: Slot, text: str) -> ProfileInfo:
    """Return the profile whose ICCID is, or ends with, the given digits. Raises ConfigError."""
    from esim_bench.codec.es10 import iccid_to_text
    from esim_bench.errors import ConfigError

    profiles = [p for p in await slot.lpa.profiles() if p.iccid is not None]
    known = [iccid_to_text(p.iccid) for p in profiles if p.iccid is not None]
    exact = [p for p, number in zip(profiles, known, strict=True) if number == text]
    ending = exact or [p for p, number in zip(profiles, known, strict=True) if number.endswith(text)]
    if len(ending) != 1:
        problem = "no profile of this ICCID" if not ending else "this ICCID is not unique"
        raise ConfigError(
            problem, where=slot.name, expected=f"one of {', '.join(known) or 'none installed'}", found=text
        )
    return ending[0]
