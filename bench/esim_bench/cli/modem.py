"""``esim-bench modem``: one slot's modem by hand: lines, states, and what an unknown one can do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
)

if TYPE_CHECKING:
    from esim_bench.ports import AtResponse, ModemLink, ModemStatus
    from esim_bench.rack.slot import Slot

cli = app("One slot's modem: AT lines by hand, its state, its manners.")


@cli.command("at")
def send_line(
    slot: SlotArgument,
    line: Annotated[str, typer.Argument(metavar="LINE", help="One command line: AT+CSQ")],
    text: Annotated[
        str | None, typer.Option("--text", help="What the modem is given when it prompts for data (>).")
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", min=0.1, max=3600.0, help="Default: the module's own limit."),
    ] = None,
    allow_destructive: AllowDestructiveOption = False,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Send one AT command line, and print the answer, what came unasked, and what it means.

    The modem need not be ready, nor have a SIM. On a protected slot APDUs that destroy are refused."""
    from esim_bench.card.at_guard import check_at_line
    from esim_bench.cli.session import on_slot
    from esim_bench.events import AtEvent, ListSink

    sink = ListSink()

    async def job(opened: Slot) -> tuple[AtResponse, int]:
        check_at_line(line, opened.card.guard)
        modem = await _answering(opened)
        before = len(sink.events)
        return await modem.command(line, timeout, text), before

    answer, before = on_slot(rack, slot, job, sink=sink, start=False, allow_destructive=allow_destructive)
    events = [event for event in sink.events[before:] if isinstance(event, AtEvent)]
    meaning = _meaning(line, answer)
    if json:
        print_json(
            {
                "slot": slot,
                "line": line,
                "lines": list(answer.lines),
                "final": answer.final,
                "unsolicited": [event.line for event in events if event.direction == "!"],
                "meaning": meaning,
            }
        )
    else:
        for event in events:
            say(f"{event.direction} {_printable(event.line)}")
        for words in meaning:
            say(f"  {_printable(words)}")
    raise typer.Exit(0 if answer.ok else EXIT_FAIL)


@cli.command("status")
def show_status(slot: SlotArgument, rack: RackOption = None, json: JsonOption = False) -> None:
    """Show what the modem says of itself, its SIM, its network and its signal."""
    from esim_bench.cli.session import on_slot

    async def job(opened: Slot) -> tuple[dict[str, str], ModemStatus]:
        modem = await _answering(opened)
        if opened.spec.simulated:
            await modem.wait_ready()  # it was switched on for this command
        return dict(await modem.identity()), await modem.status()

    identity, status = on_slot(rack, slot, job, start=False)
    document = {**identity, **_document(status)}
    if json:
        print_json({"slot": slot, **document})
        return
    for key, value in document.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {one}" for name, one in value.items() if one is not None) or None
        say(f"{key:<14} {_printable(str(value)) if value is not None else '-'}")


@cli.command("probe")
def probe(
    slot: SlotArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File for the module's row, as those of hw/modules.")
    ] = None,
    reboot: Annotated[
        bool, typer.Option("--reboot", help="Reset the module too, to see how it boots. It loses its network.")
    ] = False,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Find out how an unknown module speaks and how it reaches the card, and write its row for hw/modules.

    In the rack file the slot has module = "sim-generic" until then, or the row of a similar module; afterwards the path
    of the file. Nothing is written to the card."""
    from esim_bench.cli.session import on_slot
    from esim_bench.data import dialect_toml, read_dialect
    from esim_bench.errors import ConfigError
    from esim_bench.ports import Measurable
    from esim_bench.store.files import write_whole

    async def job(opened: Slot) -> dict[str, Any]:
        modem = await _answering(opened)
        if not isinstance(modem, Measurable):
            raise ConfigError("this driver's modem cannot be measured", where=slot, expected='driver = "at"')
        await modem.wait_ready()
        return dict(await modem.measure(note, reboot=reboot))

    tables = on_slot(rack, slot, job, start=False)
    text = dialect_toml(tables)
    if output is not None:
        try:
            write_whole(output, text)
        except OSError as exc:
            raise ConfigError("cannot write the module file", where=str(output), found=exc.strerror) from exc
        read_dialect(output)
    if json:
        print_json({"slot": slot, "file": None if output is None else str(output), "module": tables})
    elif output is not None:
        say(f'{output}: module = "{output}" in the rack file uses it')
    else:
        say(text.rstrip())


# ------------------------------------------------------------------------------------------------------------- helpers


async def _answering(opened: Slot) -> ModemLink:
    """Switch the slot on, and return its modem once it answers. Raises ConfigError, DeviceError."""
    import asyncio

    from esim_bench import clock, data
    from esim_bench.errors import ConfigError, DeviceError

    modem = opened.modem
    if modem is None:
        raise ConfigError("this slot has no modem", where=opened.name, expected="a module in the rack file")
    await opened.restore_power()
    deadline = clock.now() + (data.module(opened.spec.module).boot.timeout_s if opened.spec.module else 60.0)
    while True:
        try:
            await modem.command("AT", 2.0)
        except DeviceError:
            if clock.now() >= deadline:
                raise
            await asyncio.sleep(0.5)
        else:
            return modem


def _meaning(line: str, answer: AtResponse) -> list[str]:
    """Say in words what APDUs and error numbers mean."""
    from esim_bench.codec import at

    words = []
    name = at.name_of(line)
    if name in ("+CSIM", "+CGLA") and "=" in line:
        words += _apdu_meaning(name, line, answer)
    text = at.error_text(answer.final)
    if text:
        words.append(text)
    return words


def _apdu_meaning(name: str, line: str, answer: AtResponse) -> list[str]:
    from esim_bench.codec import at
    from esim_bench.errors import CodecError
    from esim_bench.events import ApduEvent
    from esim_bench.trace import ApduDecoder

    try:
        _, command = at.apdu_parameters(line.partition("=")[2], session=name == "+CGLA")
        response = at.apdu_answer(answer.lines, name)
    except CodecError:
        return []
    return [ApduDecoder().feed(ApduEvent(0, command, response, 0, 0))]


def _document(status: ModemStatus) -> dict[str, Any]:
    signal = status.signal
    return {
        "imei": status.imei,
        "functionality": status.functionality,
        "sim": status.sim.value,
        "iccid": status.iccid,
        "imsi": status.imsi,
        "registration": {name: state.name.lower().replace("_", " ") for name, state in status.registration.items()},
        "registered": status.registered,
        "signal": {name: getattr(signal, name) for name in signal.__slots__},
    }


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
