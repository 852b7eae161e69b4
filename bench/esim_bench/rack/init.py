"""Writes a rack file, and udev rules, from what was found: names that stay, and comments where a person must decide."""

from __future__ import annotations

import json
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
    makers = {"reader": _reader, "module": _module}
    slots = [makers[one.device.kind](one, name) for name, one in named(found) if one.device.kind in makers]
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
    closed = [_closed(one.device) for one in found if one.device.kind == "port" and one.device.trouble]
    tail += ["", "# Ports that could not be asked who is there:", *closed] if closed else []
    return "\n".join([*head, "\n\n".join(slots), *tail]) + "\n"


def _reader(one: Found, name: str) -> str:
    device = one.device
    atr = device.details.get("atr")
    card = f"card {atr}" if atr else "no card at that time"
    lines = [
        f"# {_comment(device.name)}: {card}",
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
        f"# {_comment(who or device.name)}" + (f", IMEI {_comment(said['imei'])}" if said.get("imei") else ""),
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
    line = f"# power = {toml({**one.power, 'proof': proof})}"
    if one.power_trouble is not None:
        return [f"{line}    # not as it is: the hub {_comment(one.power_trouble)}"]
    return [f"{line}    # the hub that it hangs on says that it switches this port"]


def _trouble(device: FoundDevice) -> list[str]:
    return [f"# now: {_comment(device.trouble)}"] if device.trouble else []


def _other(device: FoundDevice) -> str:
    return f"#   {device.kind} {_comment(device.name)}: {toml(device.table)}"


def _closed(device: FoundDevice) -> str:
    return f"#   {device.table['port']} ({_comment(device.name)}): {_comment(device.trouble or '')}"


def _comment(text: str) -> str:
    """Return what a device said of itself, or an error, as it can stand in one line of a comment."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def toml(table: Mapping[str, Any]) -> str:
    """Return an inline table."""
    values = {key: json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f") for key, value in table.items()}
    return "{ " + ", ".join(f"{key} = {value}" for key, value in values.items()) + " }"


def udev_rules(found: Sequence[Found]) -> str:
    """Return udev rules: links under /dev/esim-bench that stay, rights, ModemManager kept off.

    The links are called after the slots of the rack file that is made of the same find: M1 is the port that it uses,
    M1-if3 another one of that module; P1, P2, ... are the ports on which nobody answered.
    """
    lines = [
        "# Written by `esim-bench rack init`: links that stay, rights for dialout and plugdev, ModemManager kept off.",
        "# Copy to /etc/udev/rules.d/71-esim-bench-rack.rules, then: udevadm control --reload && udevadm trigger",
    ]
    for name, one in named(found):
        device = one.device
        ports = [str(device.table.get("port", "")), *device.details.get("other ports", "").split()]
        ports += [str(part.table.get("port", "")) for part in one.parts]
        if device.kind in ("module", "port") and any(port.startswith("usb:") for port in ports):
            lines += ["", f"# {name}: {_comment(device.name)}"]
            if device.kind == "module" and place_of(device) is not None:
                # The device as a whole: ModemManager would reach it by its network port just as well.
                lines.append(f'{_usb_device(device)}, ENV{{ID_MM_DEVICE_IGNORE}}="1"')
            lines += _tty_rules(name, ports)
        elif device.kind in ("relay", "sniffer", "supply", "hub") and place_of(device) is not None:
            rule = f'{_usb_device(device)}, GROUP="plugdev", MODE="0660"'
            lines += ["", f"# {device.kind} {_comment(device.name)}", rule]
    return "\n".join(lines) + "\n"


def _usb_device(device: FoundDevice) -> str:
    return f'SUBSYSTEM=="usb", ENV{{DEVTYPE}}=="usb_device", KERNEL=="{place_of(device)}"'


def _tty_rules(name: str, ports: Sequence[str]) -> list[str]:
    lines = []
    for port in dict.fromkeys(port for port in ports if port.startswith("usb:")):
        interface = port.removeprefix("usb:")
        link = name if port == ports[0] else f"{name}-if{interface.rpartition('.')[2]}"
        # KERNELS is the interface itself: the device above it has all ports, and one link cannot lead to them all.
        lines.append(
            f'SUBSYSTEM=="tty", SUBSYSTEMS=="usb", KERNELS=="{interface}", ENV{{ID_MM_DEVICE_IGNORE}}="1", '
            f'ENV{{ID_MM_PORT_IGNORE}}="1", GROUP="dialout", MODE="0660", SYMLINK+="esim-bench/{link}"'
        )
    return lines


def named(found: Sequence[Found]) -> list[tuple[str, Found]]:
    """Return what was found with the names that slots have: readers R1, R2, modules M1, M2; other ports P1, P2."""
    letters = {"reader": "R", "module": "M", "port": "P"}
    counts: dict[str, int] = {}
    result = []
    for one in found:
        letter = letters.get(one.device.kind, "")
        counts[letter] = counts.get(letter, 0) + 1
        result.append((f"{letter}{counts[letter]}" if letter else "", one))
    return result
