"""``esim-bench rack discover|init|doctor``: what is plugged in, a rack file for it, and why something does not work."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esim_bench.cli.common import EXIT_ERROR, JsonOption, RackOption, note, print_json, say, table

if TYPE_CHECKING:
    from esim_bench.ports import FoundDevice
    from esim_bench.rack.discovery import Discovery, Found

PortOption = Annotated[
    list[str] | None,
    typer.Option("--port", metavar="PATH", help="A serial port that nothing lists (a UART); repeatable."),
]


def discover(
    port: PortOption = None,
    probe: Annotated[
        bool, typer.Option("--probe/--no-probe", help="Ask free serial ports, by AT commands, who is there.")
    ] = True,
    json: JsonOption = False,
) -> None:
    """List readers, modules, ports, hubs, relays, supplies and sniffers; nothing that is in use is disturbed."""
    found = _look(port, probe=probe)
    if json:
        print_json({"devices": [_document(one) for one in found.found], "troubles": found.troubles})
        return
    if found.found:
        table(
            ["kind", "name", "where", "table of a rack file", "details"],
            [
                [
                    one.device.kind,
                    one.device.name,
                    one.device.usb or ", ".join(one.device.paths) or "-",
                    _toml(one.device),
                    _details(one),
                ]
                for one in found.found
            ],
        )
    else:
        say("nothing was found")
    for name, trouble in found.troubles.items():
        note(f"{name}: {trouble}")
    if found.troubles or not found.found:
        note("esim-bench rack doctor says what can be mended")


def init(
    output: Annotated[Path, typer.Option("-o", "--output", help="The rack file.")] = Path("rack.toml"),
    name: Annotated[str, typer.Option("--name", help="Name of the rack.")] = "bench",
    pki: Annotated[
        str | None, typer.Option("--pki", metavar="DIR", help="Test eUICCs: the PKI whose CI they trust.")
    ] = None,
    udev: Annotated[Path | None, typer.Option("--udev", help="Also write udev rules for it.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    port: PortOption = None,
    json: JsonOption = False,
) -> None:
    """Write a rack file for what is plugged in, with names that stay."""
    from esim_bench.errors import ConfigError
    from esim_bench.rack.check import check
    from esim_bench.rack.init import rack_file, udev_rules
    from esim_bench.rack.model import load_rack

    for path in (output, udev):
        if path is not None and path.exists() and not force:
            raise ConfigError("the file is there already", where=str(path), hint="--force replaces it")
    found = _look(port)
    text = rack_file(found.found, name, pki)
    if text is None:
        troubles = "; ".join(f"{driver}: {trouble}" for driver, trouble in found.troubles.items())
        hint = (
            f"{troubles}; esim-bench rack doctor says more" if troubles else "plug something in; rack doctor says more"
        )
        raise ConfigError("nothing to make a slot of", expected="a reader or a modem", found="neither", hint=hint)
    output.write_text(text)
    rack = load_rack(output)
    check(rack)
    if udev is not None:
        udev.write_text(udev_rules(found.found))
    if json:
        print_json(
            {"file": str(output), "slots": [slot.name for slot in rack.slots], "udev": str(udev) if udev else None}
        )
        return
    say(f"{output}: {len(rack.slots)} slots: {', '.join(slot.name for slot in rack.slots)}")
    if udev is not None:
        say(f"{udev}: copy it to /etc/udev/rules.d, then udevadm control --reload && udevadm trigger")
    say(f"look through the guesses, then: esim-bench run provision --rack {output}")


def doctor(rack: RackOption = None, json: JsonOption = False) -> None:
    """Say what keeps the bench from its devices, why it matters, and the command that mends it."""
    from esim_bench.rack.doctor import examine
    from esim_bench.rack.model import load_rack

    findings = examine(load_rack(rack) if rack is not None else None)
    bad = [one for one in findings if one.ok is False]
    if json:
        print_json({"ok": not bad, "findings": [one.document() for one in findings]})
    else:
        if not findings:
            say("every slot of this rack is simulated: it needs nothing of this machine")
        for one in findings:
            mark = {True: "ok  ", False: "BAD ", None: "note"}[one.ok]
            say(f"{mark}  {one.what}")
            if one.ok is not True:
                say(f"      {one.why}")
                if one.mend:
                    say(f"      mend it: {one.mend}")
    if bad:
        raise typer.Exit(EXIT_ERROR)


def _look(port: list[str] | None, *, probe: bool = True) -> Discovery:
    from esim_bench.rack.discovery import discover as look

    return asyncio.run(look(port or [], probe=probe))


def _toml(device: FoundDevice) -> str:
    from esim_bench.rack.init import toml

    return toml(device.table)


def _details(one: Found) -> str:
    details = [f"{name} {value}" for name, value in one.device.details.items() if value]
    details += [f"with {part.kind} {part.name}" for part in one.parts]
    if one.power is not None:
        details.append(f"hub {one.power['location']} port {one.port} feeds it")
    if one.device.kind == "module" and "module" not in one.device.details:
        details.append("no row in hw/modules")
    if one.device.trouble:
        details.append(one.device.trouble)
    return "; ".join(details) or "-"


def _document(one: Found) -> dict[str, Any]:
    device = one.device
    return {
        "kind": device.kind,
        "name": device.name,
        "table": dict(device.table),
        "usb": device.usb,
        "serial": device.serial,
        "paths": list(device.paths),
        "details": dict(device.details),
        "trouble": device.trouble,
        "parts": [{"kind": part.kind, "name": part.name, "table": dict(part.table)} for part in one.parts],
        "power": one.power,
        "power_trouble": one.power_trouble,
    }
