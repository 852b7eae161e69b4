"""Plain UICC commands in words: SELECT, READ, PINs, channels, proactive commands (TS 102 221, TS 102 223)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from esim_bench.trace import names


@dataclass(slots=True)
class Selection:
    """What is selected on one logical channel or session, and what waits to be fetched."""

    application: str | None = None
    """None: not known, the trace does not begin with the reset."""
    directory: str = "MF"
    file: str | None = None
    asked: str = ""
    """The command that announced its answer with 61xx."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A command's parts, as far as they are there; ``data`` may be shorter than Lc says."""

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes
    p3: int


def parts_of(command: bytes) -> Parts | None:
    """Split a command APDU of any case, generously; None when there is not even a header."""
    if len(command) < 4:
        return None
    p3 = command[4] if len(command) > 4 else 0
    data = command[5 : 5 + p3] if len(command) > 5 else b""
    return Parts(command[0], command[1], command[2], command[3], data, p3)


def strip_sw(response: bytes) -> tuple[bytes, int]:
    """Return response data and status word; -1 when the response is too short to have one."""
    if len(response) < 2:
        return b"", -1
    return response[:-2], int.from_bytes(response[-2:], "big")


def describe_command(talk: Selection, parts: Parts, data: bytes, sw: int) -> str:
    """Return what a command does, in words, and note what it changes (the selection)."""
    asked, talk.asked = talk.asked, ""
    text = _describe(talk, parts, data, sw, asked)
    if sw >> 8 == 0x61:
        talk.asked = asked if parts.ins == 0xC0 else text
    return text


def _describe(talk: Selection, parts: Parts, data: bytes, sw: int, asked: str) -> str:
    name = names.INSTRUCTIONS.get(parts.ins, f"INS {parts.ins:02X}")
    match parts.ins:
        case 0xA4:
            return f"SELECT {_select(talk, parts, sw)}"
        case 0xB0 | 0xD6:
            return _binary(talk, parts, data, name)
        case 0xB2 | 0xDC | 0xA2:
            return _record(talk, parts, data, name)
        case 0xC0:
            return f"GET RESPONSE of {asked}" if asked else name
        case 0x70:
            if parts.p1 & 0x80:
                return f"MANAGE CHANNEL close {parts.p2}"
            channel = data[0] if data else parts.p2
            return "MANAGE CHANNEL open" + (f" {channel}" if channel else "")
        case 0x20 | 0x24 | 0x26 | 0x28 | 0x2C:
            return _pin(parts, name)
        case 0x12:
            return f"FETCH {_proactive(data)}"
        case 0x14:
            return f"TERMINAL RESPONSE {_terminal_response(parts.data)}"
        case 0xC2:
            return (
                f"ENVELOPE {names.ENVELOPES.get(parts.data[0], f'{parts.data[0]:02X}') if parts.data else ''}".rstrip()
            )
        case 0xAA:
            return f"TERMINAL CAPABILITY {_terminal_capability(parts.data)}".rstrip()
        case 0x88 | 0x89:
            context = {0x80: "GSM", 0x81: "3G", 0x82: "VGCS/VBS", 0x84: "GBA"}.get(parts.p2 & 0x87, "")
            return f"AUTHENTICATE {context}{_authenticate(data)}".rstrip()
        case 0xE2:
            return f"STORE DATA block {parts.p2}" + (" (last)" if parts.p1 & 0x80 else "")
        case 0xCA:
            return f"GET DATA {parts.p1:02X}{parts.p2:02X}"
    return name


def _select(talk: Selection, parts: Parts, sw: int) -> str:
    """Name what is selected, and note it when the card agreed (TS 102 221 11.1.1)."""
    done = sw == 0x9000 or sw >> 8 in (0x61, 0x62, 0x63, 0x91)
    if parts.p1 == 0x04:
        if not parts.data:
            label = "default application"
        else:
            label = names.application(parts.data) or f"AID {parts.data.hex().upper()}"
        if done:
            talk.application = label
            talk.directory, talk.file = (label if label.startswith("ADF") else "ADF"), None
        return label
    if parts.p1 == 0x03 and not parts.data:
        return "parent"
    fids = [int.from_bytes(parts.data[start : start + 2], "big") for start in range(0, len(parts.data) - 1, 2)]
    if not fids:
        fids = [0x3F00]
    directory = "MF" if parts.p1 == 0x08 else talk.directory
    labels = []
    file: str | None = None
    for fid in fids:
        name = names.file_name(directory, fid)
        if fid == 0x7FFF and (talk.application or "").startswith("ADF"):
            name = talk.application or name
        labels.append(name)
        if fid in names.DIRECTORIES or (fid >> 8) in (0x7F, 0x5F):
            directory, file = name, None
        else:
            file = name
            if fid >> 8 == 0x2F:
                directory = "MF"
    if done:
        if fids[-1] == 0x3F00:
            talk.application = "MF"
        talk.directory, talk.file = directory, file
    return "/".join(labels)


def _file(talk: Selection, sfi: int) -> str:
    if sfi:
        fid = names.SHORT_IDS.get(talk.directory, {}).get(sfi)
        return names.file_name(talk.directory, fid) if fid else f"SFI {sfi:02X}"
    return talk.file or "current file"


def _binary(talk: Selection, parts: Parts, data: bytes, name: str) -> str:
    sfi = parts.p1 & 0x1F if parts.p1 & 0x80 else 0
    offset = parts.p2 if sfi else parts.p1 << 8 | parts.p2
    file = _file(talk, sfi)
    text = f"{name} {file}" + (f" at {offset}" if offset else "")
    if parts.ins == 0xD6:
        return f"{text}, {len(parts.data)} bytes"
    if offset == 0 and file == "EF.ICCID" and len(data) == 10:
        return f"{text} = {swapped(data)}"
    if offset == 0 and file == "EF.IMSI" and len(data) == 9:
        return f"{text} = {swapped(data[1:])[1:]}"
    return f"{text}, {len(data)} bytes" if data else text


def _record(talk: Selection, parts: Parts, data: bytes, name: str) -> str:
    file = _file(talk, parts.p2 >> 3)
    mode = {2: "next", 3: "previous"}.get(parts.p2 & 7)
    text = f"{name} {file} {mode or parts.p1}"
    size = len(parts.data) if parts.ins == 0xDC else len(data)
    return f"{text}, {size} bytes" if size else text


def swapped(data: bytes) -> str:
    """Return digits with their nibbles swapped, filler F removed (TS 102 221 13.2, TS 31.102 4.2.2)."""
    return "".join(f"{byte & 0x0F:X}{byte >> 4:X}" for byte in data).rstrip("F")


def _pin(parts: Parts, name: str) -> str:
    reference = names.PIN_REFERENCES.get(parts.p2, f"PIN reference {parts.p2:02X}")
    return f"{name.removesuffix(' PIN')} {reference}" + ("" if parts.data else " status")


def _authenticate(data: bytes) -> str:
    if not data:
        return ""
    return {0xDB: " ok", 0xDC: " synchronisation failure"}.get(data[0], f", {len(data)} bytes")


def _members(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield COMPREHENSION-TLV objects (TS 101 220 7.1.1), the comprehension bit off; ends where they do not fit."""
    offset = 0
    while offset + 2 <= len(data):
        tag, length = data[offset] & 0x7F, data[offset + 1]
        offset += 2
        if length == 0x81 and offset < len(data):
            length = data[offset]
            offset += 1
        yield tag, data[offset : offset + length]
        offset += length


def _command_details(details: bytes) -> str:
    if len(details) < 3:
        return "?"
    name = names.PROACTIVE.get(details[1], f"type {details[1]:02X}")
    if details[1] == 0x01:
        mode = names.REFRESH_MODES.get(details[2], "unknown mode")
        return f"{name} mode {details[2]:02X} {mode}"
    return name


def _proactive(data: bytes) -> str:
    """Name a proactive command (D0, TS 102 223 6.6)."""
    if len(data) < 2 or data[0] != 0xD0:
        return "nothing" if not data else "?"
    start = 3 if data[1] == 0x81 else 2
    return next((_command_details(value) for tag, value in _members(data[start:]) if tag == 0x01), "?")


def _terminal_response(data: bytes) -> str:
    details, result = "?", ""
    for tag, value in _members(data):
        if tag == 0x01:
            details = _command_details(value)
        elif tag == 0x03 and value:
            result = names.TERMINAL_RESULTS.get(value[0], f"result {value[0]:02X}")
    return f"{details}: {result}" if result else details


def _terminal_capability(data: bytes) -> str:
    """Say what of RSP the terminal claims (TS 102 221 11.1.19, SGP.22 3.4.2, SGP.32 3.8.2)."""
    if len(data) < 2 or data[0] != 0xA9:
        return ""
    offset, claims = 2, []
    while offset + 2 <= len(data):
        tag, length = data[offset], data[offset + 1]
        value = data[offset + 2 : offset + 2 + length]
        offset += 2 + length
        if tag == 0x83 and value:
            bits = ("LUId", "LPDd", "LDSd", "LUIe", "metadata update", "enterprise")
            claims += [bit for index, bit in enumerate(bits) if value[0] >> index & 1]
        elif tag == 0x84 and value and value[0] & 1:
            claims.append("IPAd")
    return " ".join(claims)
