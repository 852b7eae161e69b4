"""``esim-bench rack locks|lock|unlock``: who holds which device; reservations by hand."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from esim_bench.cli.common import JsonOption, RackOption, SlotArgument, note, print_json, say, table

if TYPE_CHECKING:
    from esim_bench.rack.model import SlotSpec

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST: Final = 30 * 86400


def locks(json: JsonOption = False) -> None:
    """List who holds or has reserved which device of this machine, on whatever rack."""
    from esim_bench.rack.locks import folder
    from esim_bench.rack.reservations import listing

    rows = listing()
    if json:
        print_json(
            {"folder": str(folder()), "locks": [{"state": state, **holder.document()} for state, holder in rows]}
        )
        return
    if not rows:
        note(f"no device is held or reserved ({folder()})")
        return
    table(
        ["device", "state", "owner", "host", "process", "since", "until", "slot", "note"],
        [
            [
                one.device,
                state,
                one.owner,
                one.host,
                f"{one.pid} {one.command}".strip() if one.pid else "-",
                _moment(one.since),
                _moment(one.until) if one.until else "-",
                one.slot or "-",
                one.note or (f"run {one.run}" if one.run else "-"),
            ]
            for state, one in rows
        ],
    )


def lock(
    slot: SlotArgument,
    text: Annotated[str, typer.Option("--note", help="What others read of it.")] = "",
    duration: Annotated[str, typer.Option("--for", metavar="DURATION", help="How long: 90s, 30m, 8h, 2d.")] = "8h",
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Reserve a slot's devices: this owner's commands pass, those of others are refused until it ends.

    The owner is $ESIM_BENCH_OWNER, else the user.
    """
    from esim_bench.rack.devices import devices
    from esim_bench.rack.reservations import reserve

    spec = _real(rack, slot)
    holder = reserve(devices(spec), seconds_of(duration), slot=spec.name, note=text)
    if json:
        print_json({"slot": spec.name, "devices": list(devices(spec)), **holder.document()})
    else:
        say(f"{spec.name}: {holder}")


def unlock(
    slot: SlotArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Also what others have reserved, and what a process holds just now.")
    ] = False,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Give back a slot's reservation. With --force take the slot from whoever has it, who then can send no more."""
    from esim_bench.rack.devices import devices
    from esim_bench.rack.reservations import free

    spec = _real(rack, slot)
    done = free(devices(spec), force=force)
    if json:
        print_json({"slot": spec.name, "done": done})
    else:
        for line in done or [f"{spec.name}: nothing was held or reserved"]:
            say(line)


def seconds_of(text: str) -> float:
    """Read a duration: 90s, 30m, 8h, 2d. Raises typer.BadParameter."""
    found = re.fullmatch(r"(\d{1,7})([smhd])", text.strip())
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < seconds <= _LONGEST:
        raise typer.BadParameter(f"expected a duration as 90s, 30m, 8h, 2d (at most 30d), found {text!r}")
    return float(seconds)


def _real(rack: str | None, name: str) -> SlotSpec:
    from esim_bench.errors import ConfigError
    from esim_bench.rack.model import load_rack

    spec = load_rack(rack).one(name)
    if spec.simulated:
        raise ConfigError("a simulated slot has no device to lock", where=spec.name, expected="a real slot")
    return spec


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
