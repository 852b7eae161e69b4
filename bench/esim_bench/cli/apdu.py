"""``esim-bench apdu``: commands to a card by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeGuard

import typer

from esim_bench.cli.common import (
    EXIT_PASS,
    AllowDestructiveOption,
    JsonOption,
    RackOption,
    SlotArgument,
    print_json,
    say,
)

if TYPE_CHECKING:
    from esim_bench.events import ApduEvent
    from esim_bench.rack.slot import Slot


def apdu(
    slot: SlotArgument,
    commands: Annotated[list[str], typer.Argument(metavar="HEX...", help="C-APDUs in hexadecimal, sent in order.")],
    allow_destructive: AllowDestructiveOption = False,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Send APDUs to a slot's card, by hand.

    The terminal starts the card up first; each answer is printed with its meaning."""
    from esim_bench.cli.session import on_slot
    from esim_bench.codec.apdu import Command
    from esim_bench.errors import CodecError
    from esim_bench.events import ListSink
    from esim_bench.trace import ApduDecoder

    parsed = []
    for text in commands:
        try:
            parsed.append(Command.parse(bytes.fromhex(text)))
        except ValueError as exc:
            raise CodecError("not a command APDU", expected="hexadecimal digits", found=repr(text)) from exc
    sink = ListSink()

    async def job(opened: Slot) -> int:
        before = len(sink.events)
        for command in parsed:
            await opened.card.transmit(bytes(command))
        return before

    before = on_slot(rack, slot, job, sink=sink, allow_destructive=allow_destructive)
    decoder = ApduDecoder()
    rows = []
    for index, event in enumerate(sink.events):
        if _is_apdu(event):
            meaning = decoder.feed(event)
            if index >= before:
                rows.append(
                    {
                        "command": event.command.hex().upper(),
                        "data": event.response[:-2].hex().upper(),
                        "sw": event.response[-2:].hex().upper(),
                        "meaning": meaning,
                    }
                )
    if json:
        print_json(rows)
    else:
        for row in rows:
            say(f"> {row['command']}\n< {row['data']} {row['sw']}".replace("<  ", "< "))
            say(f"  {row['meaning']}")
    raise typer.Exit(EXIT_PASS)


def _is_apdu(event: object) -> TypeGuard[ApduEvent]:
    from esim_bench.events import ApduEvent

    return isinstance(event, ApduEvent)
