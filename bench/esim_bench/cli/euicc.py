"""``esim-bench euicc``: one slot's eUICC, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    from esim_bench.rack.slot import Slot

cli = app("One slot's eUICC: information, profiles, notifications.")

ProfileArgument = Annotated[str, typer.Argument(metavar="ICCID", help="ICCID of the profile, or its end if unique.")]
NoRefreshOption = Annotated[bool, typer.Option("--no-refresh", help="Ask the eUICC for no REFRESH.")]


@cli.command("info")
def info(slot: SlotArgument, rack: RackOption = None, json: JsonOption = False) -> None:
    """Show who the eUICC is and what it can do."""
    from esim_bench.cli.session import on_slot

    async def job(opened: Slot) -> dict[str, Any]:
        details = await opened.lpa.info()
        return {
            "slot": opened.name,
            "form_factor": opened.form_factor.value,
            "eid": await opened.lpa.eid(),
            "iccid": await opened.card.read_iccid(),
            **details.document(),
            "contradictions": await opened.form_factor_contradictions(),
        }

    document = on_slot(rack, slot, job)
    if json:
        print_json(document)
    else:
        for key, value in document.items():
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            say(f"{key.replace('_', ' '):<28} {'-' if text in (None, '') else text}")


@cli.command("profiles")
def profiles(slot: SlotArgument, rack: RackOption = None, json: JsonOption = False) -> None:
    """List the profiles and their states."""
    from esim_bench.cli.session import on_slot

    async def job(opened: Slot) -> list[dict[str, Any]]:
        return [_document(profile) for profile in await opened.lpa.profiles()]

    rows = on_slot(rack, slot, job)
    if json:
        print_json(rows)
    else:
        table(
            ["ICCID", "state", "class", "provider", "name", "nickname", "ISD-P"],
            [
                [r["iccid"], r["state"], r["class"], r["provider"], r["name"], r["nickname"] or "-", r["isdp_aid"]]
                for r in rows
            ],
        )


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


@cli.command("download")
def download(
    slot: SlotArgument,
    activation_code: Annotated[
        str | None, typer.Argument(metavar="[LPA:1$HOST$MATCHINGID]", help="Activation code of an SM-DP+.")
    ] = None,
    package: Annotated[Path | None, typer.Option("--package", help="Profile package, through our own SM-DP+.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="Profile of profiles/, through our SM-DP+.")] = None,
    confirmation_code: Annotated[str | None, typer.Option("--confirmation-code", help="If the SM-DP+ asks.")] = None,
    tls_roots: TlsRootsOption = None,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Download and install a profile; the notifications are delivered afterwards."""
    from pydantic import ValidationError

    from esim_bench.cli.session import on_slot
    from esim_bench.codec.es10 import iccid_to_text
    from esim_bench.errors import ConfigError
    from esim_bench.rack.source import ProfileSource

    if activation_code is None and package is None and profile is None:
        raise ConfigError("nothing to download", expected="an activation code, --package FILE or --profile NAME")
    try:
        source = ProfileSource(
            activation_code=activation_code, package=package, profile=profile, confirmation_code=confirmation_code
        )
    except ValidationError as exc:
        raise ConfigError(exc.errors()[0]["msg"].removeprefix("Value error, ")) from exc

    async def job(opened: Slot) -> dict[str, Any]:
        order = await opened.world.order(source)
        before = {p.iccid for p in await opened.lpa.profiles()}
        await opened.install(order.activation_code, confirmation_code=confirmation_code)
        added = [p for p in await opened.lpa.profiles() if p.iccid not in before]
        delivered = await opened.lpa.deliver_notifications()
        return {
            "slot": opened.name,
            "installed": [iccid_to_text(p.iccid) for p in added if p.iccid],
            "notifications_delivered": len(delivered),
        }

    document = on_slot(rack, slot, job, source=source, tls_roots=tls_roots)
    if json:
        print_json(document)
    else:
        say(f"installed {', '.join(document['installed'])}")
        say(f"{document['notifications_delivered']} notifications delivered")


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
    tls_roots: TlsRootsOption = None,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """List the notifications that wait on the eUICC, or deliver them."""
    from esim_bench.cli.session import on_slot
    from esim_bench.codec.es10 import iccid_to_text

    async def job(opened: Slot) -> list[dict[str, Any]]:
        found = await (opened.lpa.deliver_notifications() if deliver else opened.lpa.notifications())
        return [
            {
                "seq": n.seq,
                "operation": n.operation,
                "address": n.address,
                "iccid": iccid_to_text(n.iccid) if n.iccid else None,
                "delivered": deliver,
            }
            for n in found
        ]

    rows = on_slot(rack, slot, job, tls_roots=tls_roots, real_time=tls_roots is not None)
    if json:
        print_json(rows)
    else:
        table(
            ["seq", "operation", "ICCID", "address", "delivered"],
            [[r["seq"], r["operation"], r["iccid"] or "-", r["address"], "yes" if deliver else "no"] for r in rows],
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
