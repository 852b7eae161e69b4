"""Files in words: what people want to read of an ICCID, a service table, an access rule (TS 102 221, TS 31.102)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.identifiers import iccid_to_text, imsi_to_text
from esim_bench.codec.saip.files import MF, FileSpec
from esim_bench.errors import CodecError

_OF_ALL: Final = ((0x08, "deactivate"), (0x10, "activate"), (0x20, "terminate"), (0x40, "delete"))
_MODES: Final = ((0x01, "read"), (0x02, "update"), (0x04, "write"), *_OF_ALL)
_DIRECTORY_MODES: Final = ((0x01, "delete in it"), (0x02, "create EF"), (0x04, "create DF"), *_OF_ALL)
_COMMANDS: Final = {0x32: "increase", 0xD4: "resize"}
_TEMPLATES: Final = {0xA0: " or ", 0xAF: " and "}
_MAX_DEPTH = 4


def content_text(spec: FileSpec) -> str:
    """Say what a file holds; in hexadecimal where nothing better is known."""
    named = _READERS.get(spec.name or "")
    if spec.path == (*MF, 0x2FE2):
        named = iccid_to_text
    try:
        if named is not None:
            return named(spec.content)
    except (CodecError, ValueError):
        # What is not as it should be is shown as it is.
        pass
    return _short(spec.content)


def record_text(record: bytes) -> str:
    """Return a record in hexadecimal, without its padding."""
    return _short(record)


def rule_text(record: bytes, directory: bool = False) -> str:
    """Say an access rule, a record of EF.ARR: "read: always; update: PIN1" (TS 102 221 9.2)."""
    body = record.rstrip(b"\xff")
    try:
        return "; ".join(_rules(body, directory))
    except CodecError:
        return body.hex().upper()


def services_text(table: bytes) -> str:
    """List the services of a service table."""
    numbers = [at * 8 + bit + 1 for at, byte in enumerate(table) for bit in range(8) if byte >> bit & 1]
    return "services " + ", ".join(map(str, numbers)) if numbers else "no services"


def _short(data: bytes) -> str:
    body = data.rstrip(b"\xff")
    rest = len(data) - len(body)
    if not body:
        return f"empty ({rest} bytes FF)" if rest else "empty"
    # A single byte of padding may as well be the end of a value.
    return f"{body.hex().upper()} and {rest} bytes FF" if rest > 1 else data.hex().upper()


def _rules(body: bytes, directory: bool) -> list[str]:
    rules: list[str] = []
    modes: list[str] = []
    for item in tlv.iterate(body, "of the access rule"):
        if item.tag == 0x80 and len(item.value) == 1:
            table = _DIRECTORY_MODES if directory else _MODES
            modes += [name for bit, name in table if item.value[0] & bit] or [f"mode {item.value.hex().upper()}"]
        elif item.tag == 0x84 and item.value:
            modes.append(_COMMANDS.get(item.value[0], f"INS {item.value.hex().upper()}"))
        elif modes:
            rules.append(f"{', '.join(modes)}: {_condition(item, 0)}")
            modes = []
        else:
            raise CodecError("condition without an access mode")
    return rules


def _condition(item: tlv.Tlv, depth: int) -> str:
    if item.tag == 0x90:
        return "always"
    if item.tag == 0x97:
        return "never"
    if item.tag == 0xA4:
        key = item.get(0x83).value
        return pin_name(key[0]) if len(key) == 1 else key.hex().upper()
    if item.tag in _TEMPLATES and depth < _MAX_DEPTH:
        return _TEMPLATES[item.tag].join(_condition(child, depth + 1) for child in item.children())
    return item.raw.hex().upper()


def pin_name(reference: int) -> str:
    """Name a PIN by its key reference (TS 102 221 table 9.3)."""
    if 1 <= reference <= 8:
        return f"PIN1.{reference}" if reference > 1 else "PIN1"
    if 10 <= reference <= 14:
        return f"ADM{reference - 9}"
    if 129 <= reference <= 136:
        return f"PIN2.{reference - 128}" if reference > 129 else "PIN2"
    if 138 <= reference <= 142:
        return f"ADM{reference - 132}"
    return f"PIN {reference:02X}"


def _name(content: bytes) -> str:
    body = content[1:].rstrip(b"\xff")
    if not body.isascii() or not body.decode("ascii").isprintable():
        raise CodecError("not in the GSM alphabet")
    return f"{body.decode('ascii')!r}, display condition {content[0]}"


def _languages(content: bytes) -> str:
    pairs = [content[at : at + 2] for at in range(0, len(content), 2)]
    used = [pair.decode("ascii") for pair in pairs if pair != b"\xff\xff"]
    if not all(pair.isalpha() for pair in used):
        raise CodecError("not languages")
    return ", ".join(used) or "no language"


def _networks(size: int) -> Callable[[bytes], str]:
    def read(content: bytes) -> str:
        entries = [content[at : at + size] for at in range(0, len(content), size)]
        return ", ".join(_network(entry) for entry in entries if entry[:3] != b"\xff\xff\xff") or "no network"

    return read


def _network(entry: bytes) -> str:
    digits = entry[:3].hex()
    mcc, mnc = digits[1] + digits[0] + digits[3], digits[5] + digits[4] + digits[2].replace("f", "")
    if len(entry) < 3 or not (mcc + mnc).isdigit():
        raise CodecError("not a network")
    rest = entry[3:].hex().upper()
    return f"{mcc}-{mnc} {rest}".rstrip()


_READERS: Final[dict[str, Callable[[bytes], str]]] = {
    "ef-iccid": iccid_to_text,
    "ef-imsi": imsi_to_text,
    "ef-spn": _name,
    "ef-ust": services_text,
    "ef-ist": services_text,
    "ef-est": services_text,
    "ef-pl": _languages,
    "ef-li": _languages,
    "ef-plmnwact": _networks(5),
    "ef-oplmnwact": _networks(5),
    "ef-hplmnwact": _networks(5),
    "ef-fplmn": _networks(3),
    "ef-ehplmn": _networks(3),
}
"""By the names of the templates. EF.LI and EF.FPLMN of other applications come out as bytes where they differ."""
