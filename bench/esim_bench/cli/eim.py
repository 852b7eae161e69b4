"""``esim-bench eim``: one slot steered by an eIM, by hand; the slot's IPA is this bench."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from esim_bench.cli.common import (
    EXIT_FAIL,
    AllowDestructiveOption,
    JsonOption,
    RackOption,
    SlotArgument,
    app,
    note,
    print_json,
    say,
    table,
)

if TYPE_CHECKING:
    from esim_bench.agents.ipa import PollReport
    from esim_bench.rack.eim_way import EimWay
    from esim_bench.rack.slot import Slot

T = TypeVar("T")

cli = app("One slot's eUICC, steered by an eIM: associations, orders, data.")

EimOption = Annotated[
    str | None,
    typer.Option(
        "--eim", metavar="URL", help="A served eIM (serve eim). Default: the eIM of this rack, kept in files."
    ),
]
TokenOption = Annotated[
    str | None, typer.Option("--token", help="Bearer token of --eim, or @FILE that holds it (as serve eim makes it).")
]
CaOption = Annotated[Path | None, typer.Option("--ca", help="PEM file of the TLS root of --eim. Default: public ones.")]


class What(Enum):
    """What can be ordered."""

    ENABLE = "enable"
    DISABLE = "disable"
    DELETE = "delete"
    LIST_PROFILES = "list-profiles"
    GET_RAT = "get-rat"
    DOWNLOAD = "download"
    SET_FALLBACK = "set-fallback"
    UNSET_FALLBACK = "unset-fallback"
    DEFAULT_ADDRESS = "default-address"
    LIST_EIMS = "list-eims"


_OF_PROFILE = {
    What.ENABLE: "enable",
    What.DISABLE: "disable",
    What.DELETE: "delete",
    What.SET_FALLBACK: "setFallbackAttribute",
}
_PLAIN = {
    What.LIST_PROFILES: "listProfileInfo",
    What.GET_RAT: "getRAT",
    What.UNSET_FALLBACK: "unsetFallbackAttribute",
    What.LIST_EIMS: "listEim",
}


@dataclass(frozen=True)
class Reached:
    """How the command reaches its eIM."""

    rack: str | None
    url: str | None
    token: str | None
    ca: Path | None
    foreign: bool = False
    """A server outside this process is spoken to: real time."""
    allow_destructive: bool = False


@cli.command("associate")
def associate(
    slot: SlotArgument,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="EimConfigurationData of another eIM (DER, hexadecimal, base64, JSON)."),
    ] = None,
    indirect: Annotated[
        bool | None, typer.Option("--indirect/--direct", help="Whether downloads go by way of the eIM.")
    ] = None,
    eim: EimOption = None,
    token: TokenOption = None,
    ca: CaOption = None,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Make an eIM known to the eUICC (AddInitialEim), and the eUICC to the eIM."""
    from esim_bench.errors import ConfigError
    from esim_bench.rack import eim_way

    if config is not None and (eim is not None or indirect is not None):
        raise ConfigError("--config with another eIM", expected="--config FILE alone, or --eim URL, or neither")
    raw = None if config is None else _configuration(config)

    async def job(opened: Slot, way: EimWay) -> dict[str, Any]:
        if raw is not None:
            eid = await opened.lpa.eid()
            before = {one.eim_id for one in await opened.ipa.eims()}
            tokens = await opened.ipa.add_initial_eim(raw)
            added = [one.eim_id for one in await opened.ipa.eims() if one.eim_id not in before]
            return {
                "slot": opened.name,
                "eid": eid,
                "state": "associated",
                "eims": [
                    {"eim_id": name, "association_token": value} for name, value in zip(added, tokens, strict=False)
                ],
            }
        return await eim_way.associate(opened, way, indirect)

    document = _with_eim(Reached(rack, eim, token, ca), slot, job)
    if json:
        print_json(document)
        return
    for one in document["eims"]:
        token_text = "no token" if one["association_token"] is None else f"token {one['association_token']}"
        say(f"{document['state']}: {one['eim_id']}, {token_text}")


def _configuration(file: Path) -> bytes:
    from esim_bench.cli.eim_way import read_configuration

    return read_configuration(file)


@cli.command("order")
def order(
    slot: SlotArgument,
    what: Annotated[What, typer.Argument(metavar="WHAT", help=", ".join(one.value for one in What))],
    argument: Annotated[
        str | None,
        typer.Argument(
            metavar="[ICCID|CODE|HOST]",
            help="ICCID, or its end if unique; activation code of a download; default SM-DP+ address, none removes it.",
        ),
    ] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="enable: come back if the new profile gives no connectivity.")
    ] = False,
    profile: Annotated[
        str | None, typer.Option("--profile", help="download: profile of profiles/, through our own SM-DP+.")
    ] = None,
    package: Annotated[
        Path | None, typer.Option("--package", help="download: profile package, through our own SM-DP+.")
    ] = None,
    poll: Annotated[bool, typer.Option("--poll/--no-poll", help="Have the IPA ask for the order at once.")] = True,
    allow_destructive: AllowDestructiveOption = False,
    eim: EimOption = None,
    token: TokenOption = None,
    ca: CaOption = None,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Order something of the eUICC by the eIM, and have the IPA execute it. Exit code 1: it was not done."""
    from esim_bench.errors import ConfigError

    _check(what, argument, rollback=rollback, source=profile or package)
    if (profile or package) and not poll:
        hint = "give the activation code of an SM-DP+ that stays"
        raise ConfigError("our own SM-DP+ ends with the command, before the download", where="--no-poll", hint=hint)
    if (profile or package) and eim is not None:
        hint = "give the activation code of an SM-DP+ that it can reach (serve smdp)"
        raise ConfigError("a served eIM does not reach the SM-DP+ of this command", where="--eim", hint=hint)
    foreign = what is What.DOWNLOAD and argument is not None and _foreign(argument)

    async def job(opened: Slot, way: EimWay) -> dict[str, Any]:
        eid = await opened.lpa.eid()
        await _known(way, opened, eid)
        wanted = await _wanted(opened, what, argument, rollback=rollback, profile=profile, package=package)
        made = await way.order(eid, wanted)
        if not poll:
            return made
        return await _executed(opened, way, made)

    reached = Reached(rack, eim, token, ca, foreign, allow_destructive)
    document = _with_eim(reached, slot, job)
    if json:
        print_json(document)
    else:
        say(f"order {document['id']}: {document['state']}{_more(document['outcome'])}")
        for result in document["results"]:
            say(f"  {result['function']}: {result['name']}")
            for line in _content(result):
                say(f"    {line}")
    if poll and document["state"] != "done":
        raise typer.Exit(EXIT_FAIL)


async def _known(way: EimWay, opened: Slot, eid: str) -> None:
    from esim_bench.errors import ConfigError

    if await way.device(eid) is None:
        hint = f"first: esim-bench eim associate {opened.name}"
        raise ConfigError(f"EID {eid} is not known to eIM {await way.eim_id()}", hint=hint)


async def _executed(opened: Slot, way: EimWay, made: dict[str, Any]) -> dict[str, Any]:
    """Have the IPA poll until an order has ended, and return it. Raises what kept it from that."""
    from esim_bench.rack import eim_way

    made, error = await eim_way.executed(opened, way, made)
    if error is not None:
        note(f"order {made['id']} is kept and goes out with the next poll")
        raise error
    return made


def _more(outcome: str) -> str:
    return f" ({outcome})" if outcome else ""


def _content(result: dict[str, Any]) -> list[str]:
    if result["function"] == "listEim":
        return [one["eim_id"] for one in result.get("eims", ())]
    if result["function"] == "listProfileInfo" and result.get("content"):
        from esim_bench.codec.es10 import iccid_to_text
        from esim_bench.codec.iot_info import iot_profile_infos

        found = iot_profile_infos(base64.b64decode(result["content"]))
        return [
            f"{iccid_to_text(one.profile.iccid)}  {one.profile.state_name}{'  fallback' * one.iot.fallback_attribute}"
            for one in found
            if one.profile.iccid is not None
        ]
    return [result["content"]] if result.get("content") else []


def _check(what: What, argument: str | None, *, rollback: bool, source: object) -> None:
    from esim_bench.errors import ConfigError

    if rollback and what is not What.ENABLE:
        raise ConfigError("--rollback", expected="with enable", found=what.value)
    if source is not None and what is not What.DOWNLOAD:
        raise ConfigError("--profile or --package", expected="with download", found=what.value)
    if what in _OF_PROFILE and argument is None:
        raise ConfigError(what.value, expected="an ICCID, or its end", found="nothing")
    if what in _PLAIN and argument is not None:
        raise ConfigError(what.value, expected="nothing after it", found=argument)
    if what is What.DOWNLOAD and (argument is None) == (source is None):
        found = "nothing" if argument is None else "both"
        raise ConfigError("download", expected="an activation code, --profile NAME or --package FILE", found=found)


def _foreign(code: str) -> bool:
    from esim_bench.codec.activation_code import ActivationCode
    from esim_bench.rack.world import is_own

    return not is_own(ActivationCode.parse(code).address)


async def _wanted(
    opened: Slot, what: What, argument: str | None, *, rollback: bool, profile: str | None, package: Path | None
) -> dict[str, Any]:
    """Return the order as the REST API takes it."""
    if what is What.DOWNLOAD:
        from esim_bench.rack.source import ProfileSource

        code = argument
        if code is None:
            source = ProfileSource.model_validate({"profile": profile, "package": package})
            code = str((await opened.world.order(source)).activation_code)
        return {"kind": "download", "activation_code": code}
    operation: dict[str, Any]
    if what in _OF_PROFILE:
        operation = {"op": _OF_PROFILE[what], "iccid": await _iccid(opened, argument or "")}
        if rollback:
            operation["rollback"] = True
    elif what is What.DEFAULT_ADDRESS:
        operation = {"op": "setDefaultDpAddress", "address": argument or ""}
    else:
        operation = {"op": _PLAIN[what]}
    return {"kind": "package", "operations": [operation]}


async def _iccid(opened: Slot, text: str) -> str:
    from esim_bench.cli.euicc import pick
    from esim_bench.codec.es10 import iccid_to_text

    if 18 <= len(text) <= 20 and text.isdecimal():
        # Also of a profile that is not there: what the eUICC says to that may be the question.
        return text
    profile = await pick(opened, text)
    assert profile.iccid is not None
    return iccid_to_text(profile.iccid)


@cli.command("poll")
def poll_eims(
    slot: SlotArgument,
    allow_destructive: AllowDestructiveOption = False,
    eim: EimOption = None,
    token: TokenOption = None,
    ca: CaOption = None,
    rack: RackOption = None,
    real_time: Annotated[
        bool, typer.Option("--real-time", help="Simulated slots as well: their eIMs are outside this process.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Have the IPA ask all eIMs that the eUICC knows for work, and do it."""

    async def job(opened: Slot, way: EimWay) -> PollReport:
        return await opened.ipa.poll()

    reached = Reached(rack, eim, token, ca, real_time, allow_destructive)
    report = _with_eim(reached, slot, job)
    document = {
        "done": [
            {
                "kind": one.kind,
                "eim_id": one.eim_id,
                "transaction_id": one.transaction_id.hex().upper() if one.transaction_id is not None else None,
                "results": list(one.results),
            }
            for one in report.done
        ],
        "errors": {name: str(error) for name, error in report.errors.items()},
    }
    if json:
        print_json(document)
    else:
        for one in report.done:
            say(f"{one.kind}  {one.eim_id or '-'}  {', '.join(one.results) or '-'}")
        if not report.done:
            say("nothing to do")
        for name, error in report.errors.items():
            note(f"error: {name or 'notifications'}: {error}")
    if report.errors:
        raise typer.Exit(EXIT_FAIL)


@cli.command("status")
def status(
    slot: SlotArgument,
    eim: EimOption = None,
    token: TokenOption = None,
    ca: CaOption = None,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Show what the eIM believes of the eUICC, and its orders."""

    async def job(opened: Slot, way: EimWay) -> dict[str, Any]:
        eid = await opened.lpa.eid()
        device = await way.device(eid)
        return {
            "slot": opened.name,
            "eid": eid,
            "eim_id": await way.eim_id(),
            "associated": bool(device and device["associated"]),
            "device": device,
            "orders": await way.orders(eid) if device else [],
        }

    document = _with_eim(Reached(rack, eim, token, ca), slot, job)
    if json:
        print_json(document)
        return
    device = document["device"]
    state = "not in the inventory" if device is None else "associated" if device["associated"] else "not associated"
    say(f"eIM   {document['eim_id']}")
    say(f"EID   {document['eid']}, {state}")
    if device is None:
        note(f"make it known: esim-bench eim associate {slot}")
        return
    view = device["view"]
    say(f"seen  {device['seen'] or 'never'}; counter {device['counter']}")
    if view["profiles"]:
        say()
        rows = [
            [one["iccid"], one["state"], "yes" if one["fallback"] else "no", one["name"] or "-"]
            for one in view["profiles"]
        ]
        table(["ICCID", "state", "fallback", "name"], rows)
    if document["orders"]:
        say()
        table(
            ["order", "kind", "purpose", "state", "outcome"],
            [
                [one["id"], one["kind"], one["purpose"] or "ordered", one["state"], one["outcome"] or "-"]
                for one in document["orders"]
            ],
        )


@cli.command("data")
def data(
    slot: SlotArgument,
    tags: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME|TAG]...", help="Data by name or tag; none: what eIMs usually want to know."),
    ] = None,
    eim: EimOption = None,
    token: TokenOption = None,
    ca: CaOption = None,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Have the eIM ask for data of the eUICC and its IPA (IpaEuiccDataRequest)."""
    wanted = {"kind": "data", "tags": tags or ["euiccInfo2", "ipaCapabilities", "deviceInfo"]}

    async def job(opened: Slot, way: EimWay) -> dict[str, Any]:
        eid = await opened.lpa.eid()
        await _known(way, opened, eid)
        made = await way.order(eid, wanted)
        return await _executed(opened, way, made)

    document = _with_eim(Reached(rack, eim, token, ca), slot, job)
    if json:
        print_json(document)
    else:
        say(f"order {document['id']}: {document['state']}{_more(document['outcome'])}")
        for name, value in (document["data"] or {}).items():
            say(f"  {name:<24} {value}")
    if document["state"] != "done":
        raise typer.Exit(EXIT_FAIL)


# ---------------------------------------------------------------------------------------------------------- both kinds


def _with_eim(reached: Reached, slot: str, job: Callable[[Slot, EimWay], Awaitable[T]]) -> T:
    """Do something on a slot with an eIM: the rack's own, or a served one. Raises ConfigError."""
    from esim_bench.cli.eim_way import RestEim
    from esim_bench.cli.session import on_slot
    from esim_bench.errors import ConfigError
    from esim_bench.rack.eim_way import OwnEim

    if reached.url is None and (reached.token is not None or reached.ca is not None):
        raise ConfigError("--token or --ca without a server", expected="--eim URL as well")

    async def on_opened(opened: Slot) -> T:
        if reached.url is None:
            return await job(opened, OwnEim(opened.world.eim()))
        return await job(opened, RestEim(reached.url, secret, reached.ca, opened.world.rack.network))

    secret = _token(reached.token) if reached.url is not None else ""
    return on_slot(
        reached.rack,
        slot,
        on_opened,
        tls_roots=reached.ca,
        allow_destructive=reached.allow_destructive,
        real_time=reached.url is not None or reached.foreign,
        keep_eims=True,
    )


def _token(given: str | None) -> str:
    from esim_bench.errors import ConfigError

    if given is None:
        raise ConfigError("no token for the eIM", expected="--token TOKEN, or --token @FILE", hint="serve eim names it")
    return Path(given[1:]).read_text(encoding="utf-8").strip() if given.startswith("@") else given
