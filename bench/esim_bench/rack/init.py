"""Writes a rack file, and udev rules, from what was found: names that stay, and comments where a person must decide."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from esim_bench import data
from esim_bench.ports import FoundDevice
from esim_bench.rack.discovery import Found, place_of

_GENERIC: Final = "sim-generic"


def rack_file(found: Sequence[Found], name: str, pki: str | None = None) -> str | None:
    """Return a rack file with a slot for each reader and module; None where there is neither.

    ``pki``: the folder of the test PKI that the eUICCs trust.
    """
    slots: list[str] = []
    readers = modules = 0
    for one in found:
        if one.device.kind == "reader":
            readers += 1
            slots.append(_reader(one, f"R{readers}"))
        elif one.device.kind == "module":
            modules += 1
            slots.append(_module(one, f"M{modules}"))
    if not slots:
        return None
    head = [
        '# What `esim-bench rack discover` found. Confirm each "guess", then: esim-bench rack check FILE',
        "[rack]",
        f"name = {json.dumps(name)}",
        f"pki = {json.dumps(pki)}" if pki else '# pki = "DIR"    # test eUICCs: the PKI whose CI they trust',
        "",
    ]
    others = [_other(one.device) for one in found if one.device.kind in ("relay", "supply", "mux", "sniffer")]
    tail = ["", "# Not part of a slot yet:", *others] if others else []
    return "\n".join([*head, "\n\n".join(slots), *tail]) + "\n"


def _reader(one: Found, name: str) -> str:
    device = one.device
    atr = device.details.get("atr")
    card = f"card {atr}" if atr else "no card at that time"
    lines = [
        f"# {device.name}: {card}",
        "[[slot]]",
        f'name = "{name}"',
        'form_factor = "4FF"    # a guess: MFF2 or iSIM for a devkit that is a reader',
        f"card = {toml(device.table)}",
    ]
    return "\n".join(lines + _power(one, "card-gone") + _trouble(device))


def _module(one: Found, name: str) -> str:
    device = one.device
    said = device.details
    module = said.get("module")
    who = " ".join(said[key] for key in ("manufacturer", "model", "revision") if said.get(key))
    integrated = module is not None and data.module(module).integrated
    known = "" if module else "    # not known: `esim-bench modem probe` writes a row for it"
    form = f'form_factor = "{"iSIM" if integrated else "MFF2"}"    # a guess: 4FF for a card in a holder'
    lines = [
        f"# {who or device.name}" + (f", IMEI {said['imei']}" if said.get("imei") else ""),
        "[[slot]]",
        f'name = "{name}"',
        form,
        f'module = "{module or _GENERIC}"{known}',
        f"modem = {toml(device.table)}",
    ]
    if said.get("other ports"):
        lines.append(f"# its other ports: {said['other ports']}")
    return "\n".join(lines + _power(one, "usb-gone") + _trouble(device))


def _power(one: Found, proof: str) -> list[str]:
    if one.power is None:
        return ["# power = { ... }    # what switches it: a hub's port, a relay, a supply (docs/power.md)"]
    table = toml({**one.power, "proof": proof})
    return [f"# power = {table}    # the hub that it hangs on says that it switches this port"]


def _trouble(device: FoundDevice) -> list[str]:
    return [f"# now: {device.trouble}"] if device.trouble else []


def _other(device: FoundDevice) -> str:
    return f"#   {device.kind} {device.name}: {toml(device.table)}"


def toml(table: Mapping[str, Any]) -> str:
    """Return an inline table."""
    return "{ " + ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()) + " }"


def udev_rules(found: Sequence[Found]) -> str:
    """Return udev rules: stable links under /dev/esim-bench, rights for the group plugdev, ModemManager kept off."""
    lines = [
        "# Written by `esim-bench rack init`: links that stay, rights for the group plugdev, ModemManager kept off.",
        "# Copy to /etc/udev/rules.d/71-esim-bench-rack.rules, then: udevadm control --reload && udevadm trigger",
    ]
    for one in found:
        for device in (one.device, *one.parts):
            place = place_of(device)
            if place is None or device.kind not in ("module", "port", "relay"):
                continue
            name = re.sub(r"[^a-z0-9]+", "-", device.name.lower()).strip("-") or device.kind
            lines += [
                f"# {device.kind} {device.name}",
                f'SUBSYSTEM=="tty", KERNELS=="{place}", ENV{{ID_MM_DEVICE_IGNORE}}="1", GROUP="dialout", MODE="0660", '
                f'SYMLINK+="esim-bench/{name}-{place}-$attr{{bInterfaceNumber}}"',
            ]
    return "\n".join(lines) + "\n"
