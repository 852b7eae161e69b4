"""``esim-bench euicc download``: a profile by activation code, from our own SM-DP+ or somebody else's."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from esim_bench.cli.common import (
    JsonOption,
    RackOption,
    SlotArgument,
    TlsRootsOption,
    note,
    print_json,
    say,
)

if TYPE_CHECKING:
    from esim_bench.agents.user import Answer, User
    from esim_bench.codec.metadata import Metadata
    from esim_bench.rack.slot import Slot

T = TypeVar("T")


def download(
    slot: SlotArgument,
    activation_code: Annotated[
        str | None,
        typer.Argument(
            metavar="[LPA:1$HOST$MATCHINGID|@FILE]", help="Activation code of an SM-DP+, or an image of its QR code."
        ),
    ] = None,
    default: Annotated[
        bool, typer.Option("--default", help="What waits for this EID at the eUICC's default SM-DP+.")
    ] = False,
    package: Annotated[Path | None, typer.Option("--package", help="Profile package, through our own SM-DP+.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="Profile of profiles/, through our SM-DP+.")] = None,
    confirmation_code: Annotated[
        str | None, typer.Option("--confirmation-code", help="If the SM-DP+ asks; else a terminal is asked.")
    ] = None,
    ask: Annotated[bool, typer.Option("--ask", help="Show the profile and ask before it is installed.")] = False,
    accept_rules: Annotated[
        bool, typer.Option("--accept-rules", help="Agree to policy rules that ask for consent (protected slots).")
    ] = False,
    tls_roots: TlsRootsOption = None,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Download and install a profile; the notifications are delivered afterwards."""
    from pydantic import ValidationError

    from esim_bench.cli.session import on_slot
    from esim_bench.codec.es10 import iccid_to_text
    from esim_bench.errors import ConfigError
    from esim_bench.rack.by_hand import is_foreign
    from esim_bench.rack.source import ProfileSource

    given = [name for name in (activation_code, package, profile, default or None) if name is not None]
    if len(given) != 1:
        raise ConfigError(
            "nothing to download" if not given else "more than one thing to download",
            expected="an activation code, --default, --package FILE or --profile NAME",
        )
    if default:
        activation_code = _default_code(rack, slot)
    try:
        source = ProfileSource(
            activation_code=activation_code,
            package=package,
            profile=profile,
            confirmation_code=confirmation_code,
            accept_rules=accept_rules,
        )
    except ValidationError as exc:
        raise ConfigError(exc.errors()[0]["msg"].removeprefix("Value error, ")) from exc

    async def job(opened: Slot) -> dict[str, Any]:
        order = await opened.world.order(source)
        if is_foreign(source):
            note((await opened.trust()).of_server(order.activation_code.address))
        before = {p.iccid for p in await opened.lpa.profiles()}
        await opened.install(
            order.activation_code,
            confirmation_code=confirmation_code,
            user=_user(ask=ask),
            accept_rules=accept_rules,
        )
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


def _default_code(rack: str | None, slot: str) -> str:
    from esim_bench.cli.session import on_slot

    async def job(opened: Slot) -> str:
        return str(await opened.lpa.default_code())

    return on_slot(rack, slot, job)


# ------------------------------------------------------------------------------------------------------ the end user


def _user(*, ask: bool) -> User:
    """Return who answers the LPA's questions: the person at the terminal, if there is one."""
    from esim_bench.agents.user import User

    if not ask and not sys.stdin.isatty():
        return User()
    return User(
        confirm=_confirm if ask else None,
        consent=_consent if ask else None,
        confirmation_code=_code,
    )


async def _confirm(metadata: Metadata) -> Answer:
    from esim_bench.codec.es10 import iccid_to_text

    note(f"profile {_plain(metadata.profile_name)!r} of {_plain(metadata.service_provider)!r}")
    note(f"  {metadata.profile_class}, ICCID {iccid_to_text(metadata.iccid)}")
    if metadata.policy_rules:
        note(f"  policy rules: {', '.join(metadata.policy_rules)}")
    return await _yes_no_later("install it?")


async def _consent(metadata: Metadata, rules: Sequence[str]) -> Answer:
    meaning = {"ppr1": "it cannot be disabled (ppr1)", "ppr2": "it cannot be deleted (ppr2)"}
    note("once installed, " + " and ".join(meaning.get(rule, rule) for rule in rules))
    return await _yes_no_later("agree to that?")


async def _code(metadata: Metadata) -> str | None:
    text = await _at_terminal(
        lambda: typer.prompt(
            "confirmation code", default="", show_default=False, hide_input=sys.stdin.isatty(), err=True
        )
    )
    return text or None


async def _yes_no_later(question: str) -> Answer:
    from esim_bench.agents.user import Answer

    def put() -> str:
        text: str = typer.prompt(f"{question} [yes/no/later]", default="later", show_default=False, err=True)
        return text

    word = ((await _at_terminal(put)) or "later").strip().lower()
    return next((answer for answer in Answer if word and answer.value.startswith(word)), Answer.LATER)


async def _at_terminal(question: Callable[[], T]) -> T | None:
    """Ask without holding up the slot; in virtual time the world waits. None: the input ended."""
    from esim_bench import clock

    try:
        return question() if clock.is_virtual() else await asyncio.to_thread(question)
    except typer.Abort:
        return None


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
