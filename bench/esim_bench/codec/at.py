"""AT lines: bytes to lines, lines to answers (ITU-T V.250, 3GPP TS 27.007), the formats of +CSIM, +CGLA, +CCHO.

``LineReader`` cuts a byte stream into lines, however it arrives. ``Answer`` takes lines while a command runs and
says of each what it is: echo, information, final result code, or something that came unasked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

from esim_bench.errors import CodecError

MAX_LINE = 16 * 1024
"""Characters after which a line is cut: no answer is that long, but line noise can be."""

CME_TEXTS = {
    0: "phone failure",
    1: "no connection to phone",
    2: "phone-adaptor link reserved",
    3: "operation not allowed",
    4: "operation not supported",
    5: "PH-SIM PIN required",
    10: "SIM not inserted",
    11: "SIM PIN required",
    12: "SIM PUK required",
    13: "SIM failure",
    14: "SIM busy",
    15: "SIM wrong",
    16: "incorrect password",
    17: "SIM PIN2 required",
    18: "SIM PUK2 required",
    20: "memory full",
    21: "invalid index",
    22: "not found",
    23: "memory failure",
    24: "text string too long",
    25: "invalid characters in text string",
    26: "dial string too long",
    27: "invalid characters in dial string",
    30: "no network service",
    31: "network timeout",
    32: "network not allowed - emergency calls only",
    50: "Incorrect parameters",
    51: "command implemented but currently disabled",
    52: "command aborted by user",
    56: "fixed dial number only allowed - called number is not a fixed dial number",
    100: "unknown",
    103: "Illegal MS",
    106: "Illegal ME",
    107: "GPRS services not allowed",
    111: "PLMN not allowed",
    112: "Location area not allowed",
    113: "Roaming not allowed in this location area",
    148: "unspecified GPRS error",
    149: "PDP authentication failure",
    150: "invalid mobile class",
}
"""+CME ERROR numbers and their verbose texts (27.007 9.2)."""

CMS_TEXTS = {
    300: "ME failure",
    301: "SMS service of ME reserved",
    302: "operation not allowed",
    303: "operation not supported",
    304: "invalid PDU mode parameter",
    305: "invalid text mode parameter",
    310: "(U)SIM not inserted",
    311: "(U)SIM PIN required",
    312: "PH-(U)SIM PIN required",
    313: "(U)SIM failure",
    314: "(U)SIM busy",
    315: "(U)SIM wrong",
    316: "(U)SIM PUK required",
    317: "(U)SIM PIN2 required",
    318: "(U)SIM PUK2 required",
    320: "memory failure",
    321: "invalid memory index",
    322: "memory full",
    330: "SMSC address unknown",
    331: "no network service",
    332: "network timeout",
    340: "no +CNMA acknowledgement expected",
    500: "unknown error",
}
"""+CMS ERROR numbers and their verbose texts (27.005 3.2.5)."""

_OTHER_TEXTS = {
    "parameters error": 50,
    "invalid parameters": 50,
    "invalid parameter": 50,
    "sim not detected": 10,
    "no sim": 10,
    "(u)sim not inserted": 10,
    "(u)sim failure": 13,
    "(u)sim busy": 14,
    "access denied": 3,
    "command not supported": 4,
    "unknown error": 100,
}
"""Verbose texts of single makers."""

USUAL_URCS = (
    "+CREG:",
    "+CGREG:",
    "+CEREG:",
    "+C5GREG:",
    "+CPIN:",
    "+CFUN:",
    "+CMTI:",
    "+CMT:",
    "+CDS:",
    "+CDSI:",
    "+CTZV:",
    "+CTZE:",
    "+CGEV:",
    "+CIEV:",
    "+CUSD:",
    "+CRING:",
    "+CLIP:",
    "RING",
    "RDY",
)
"""Beginnings of lines that many modems send unasked. Those that answer a command too are told apart by the command."""

_MAX_DIGITS = 9
"""Of a number; Python refuses to read very long ones."""
_DIAL_FINALS = ("NO CARRIER", "NO ANSWER", "NO DIALTONE", "BUSY", "CONNECT")
_NAME = re.compile(r"^[+%#^$*&_!][A-Za-z][A-Za-z0-9_-]*")
_HANDLE = re.compile(r"^[0-9A-Za-z]{1,32}$")
_BARE_HANDLE = re.compile(r'^"?(?=[A-Za-z]*[0-9])[0-9A-Za-z]{1,32}"?$')
_BARE_APDU = re.compile(r'^[0-9]{1,4} *, *"?[0-9A-Fa-f]{4,}"?$')
_SESSION_COMMANDS = {"+CSIM": _BARE_APDU, "+CGLA": _BARE_APDU, "+CCHO": _BARE_HANDLE}
"""Commands whose answers have a shape even without their name: every other nameless line came unasked."""


class LineKind(Enum):
    """What a received line is."""

    ECHO = "echo"
    INFORMATION = "information"
    FINAL = "final result code"
    URC = "unsolicited result code"


class LineReader:
    """Cuts bytes into lines; empty ones are dropped. Any chunking of the same bytes gives the same lines.

    A line ends with CR or LF, whichever comes first. NUL bytes, which ports send while they settle, are dropped; other
    bytes outside of ASCII are kept as Latin-1, so that nothing received is hidden.
    """

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, data: bytes) -> list[str]:
        """Take bytes; return the lines that are complete now."""
        text = self._rest + data.decode("latin-1").replace("\0", "")
        lines = text.replace("\r", "\n").split("\n")
        if len(text) >= MAX_LINE:
            lines = [part for line in lines[:-1] for part in _cut(line)] + _cut(lines[-1])
            # A rest that was cut at its very end is complete.
            lines += [""] if len(lines[-1]) == MAX_LINE else []
        self._rest = lines.pop()
        return [stripped for line in lines if (stripped := line.strip(" "))]

    def take_prompt(self) -> bool:
        """Tell whether a prompt for data (``>`` without a line end) stands at the end; it is taken away."""
        if len(self._rest) > 2 or self.rest.strip(" ") != ">":
            return False
        self._rest = ""
        return True

    @property
    def rest(self) -> str:
        """Return what has come of the line that is not complete yet."""
        return self._rest


def _cut(line: str) -> list[str]:
    return [line[place : place + MAX_LINE] for place in range(0, len(line), MAX_LINE)] or [""]


def is_final(line: str) -> bool:
    """Tell whether a line ends an answer: OK, ERROR, +CME ERROR: ..., +CMS ERROR: ... in any case of letters."""
    upper = line[:10].upper()
    return upper in ("OK", "ERROR") or upper.startswith(("+CME ERROR", "+CMS ERROR"))


def is_unsolicited(line: str, urcs: Sequence[str] = ()) -> bool:
    """Tell whether a line begins as one that comes unasked: one of the usual ones, or of ``urcs``."""
    return line.upper().startswith(tuple(urc.upper() for urc in (*USUAL_URCS, *urcs)))


def name_of(line: str) -> str:
    """Return the name of an extended command or line, in capitals: "+CGLA" of AT+CGLA=1,10,"00" and of +CGLA: 4,...

    "" for everything else.
    """
    text = line[2:] if line[:2].upper() == "AT" else line
    found = _NAME.match(text)
    return found[0].upper() if found else ""


class Answer:
    """The answer to one command while it arrives. ``lines`` is its information, ``final`` ends it.

    ``urcs``: beginnings of lines that the modem is known to send unasked, beyond the usual ones.
    """

    def __init__(self, command: str, urcs: Sequence[str] = ()) -> None:
        self.lines: list[str] = []
        self.final: str | None = None
        self._name = name_of(command)
        self._dials = command[:3].upper() in ("ATD", "ATA", "ATO")
        self._echo = command.strip()
        self._reads = command.endswith("?") and not command.endswith("=?")
        self._urcs = tuple(urcs)

    def feed(self, line: str) -> LineKind:
        """Take one line and say what it is. After ``final`` has come every line is unsolicited."""
        if self.final is not None:
            return LineKind.URC
        if self._is_echo(line):
            return LineKind.ECHO
        if is_final(line) or (self._dials and line.upper().startswith(_DIAL_FINALS)):
            self.final = line.upper() if len(line) <= 5 else line
            return LineKind.FINAL
        if self._is_urc(line):
            return LineKind.URC
        self.lines.append(line)
        return LineKind.INFORMATION

    @property
    def overheard(self) -> list[str]:
        """Return lines among the information that may have come unasked: a state was read, and told by itself too."""
        if len(self.lines) < 2 or not self._reads:
            return []
        return [line for line in self.lines if is_unsolicited(line, self._urcs)]

    def _is_echo(self, line: str) -> bool:
        # An unsolicited line can break into an echo: it then comes in pieces, each the beginning of what is missing.
        if not self._echo or self.lines or not self._echo.startswith(line):
            return False
        self._echo = self._echo[len(line) :].lstrip(" ")
        return True

    def _is_urc(self, line: str) -> bool:
        name = name_of(line)
        if name and self._name:
            # An extended command answers under its own name. What answers under another name answers no one, unless
            # the modem calls it differently: AT+ICCID gives +ICCID, AT+QCCID +QCCID, but AT+CICCID gives +ICCID.
            return name != self._name and not (len(name) > 4 and self._name.endswith(name[1:]))
        shape = _SESSION_COMMANDS.get(self._name)
        if shape is not None and not shape.match(line):
            return True
        return is_unsolicited(line, self._urcs)


# ------------------------------------------------------------------------------------------------ lines and fields


def quote(text: str) -> str:
    """Return a string parameter. Raises CodecError for a quote or a control character in it."""
    if not text.isprintable() or '"' in text:
        raise CodecError(
            "string parameter of an AT command", expected="printable text without quotes", found=repr(text)
        )
    return f'"{text}"'


def fields(text: str) -> list[str]:
    """Split parameters at commas outside of quotes; quotes go, blanks around a parameter too.

    Raises CodecError for a quote that does not end.
    """
    if text.count('"') % 2:
        raise CodecError("AT parameters", expected="paired quotes", found=_short(text))
    parts = [""]
    for number, piece in enumerate(text.split('"')):
        if number % 2:
            parts[-1] += f'"{piece}"'
        else:
            first, *others = piece.split(",")
            parts[-1] += first
            parts += others
    found = [part.strip() for part in parts]
    return [part[1:-1] if len(part) >= 2 and part[0] == part[-1] == '"' else part for part in found]


def parameters(line: str, name: str) -> list[str]:
    """Return the parameters of an information line ``+NAME: a,"b"``. Raises CodecError for another line."""
    if name_of(line) != name.upper():
        raise CodecError("AT answer", expected=f"{name}: ...", found=_short(line))
    rest = line[len(name) :].lstrip()
    if not rest.startswith(":"):
        raise CodecError("AT answer", expected=f"{name}: ...", found=_short(line))
    return fields(rest[1:].strip())


# ---------------------------------------------------------------- 27.007 8.17 +CSIM, 8.43 +CGLA, 8.45 +CCHO


def csim_command(apdu: bytes) -> str:
    """Return AT+CSIM with an APDU; the length counts hexadecimal characters (27.007 8.17)."""
    return f"AT+CSIM={2 * len(apdu)},{quote(apdu.hex().upper())}"


def cgla_command(handle: str, apdu: bytes) -> str:
    """Return AT+CGLA with an APDU for a session (27.007 8.43)."""
    return f"AT+CGLA={_checked_handle(handle)},{2 * len(apdu)},{quote(apdu.hex().upper())}"


def ccho_command(aid: bytes) -> str:
    """Return AT+CCHO for an application (27.007 8.45)."""
    return f"AT+CCHO={quote(aid.hex().upper())}"


def cchc_command(handle: str) -> str:
    """Return AT+CCHC for a session (27.007 8.46)."""
    return f"AT+CCHC={_checked_handle(handle)}"


def csim_room(line_limit: int) -> int:
    """Return the most bytes of an APDU in an AT+CSIM line of ``line_limit`` characters."""
    return max(0, (line_limit - len(csim_command(b"\0" * 128)) + 256) // 2)


def cgla_room(line_limit: int, handle_length: int) -> int:
    """Return the most bytes of an APDU in an AT+CGLA line of ``line_limit`` characters."""
    return max(0, (line_limit - len(cgla_command("0" * handle_length, b"\0" * 128)) + 256) // 2)


def apdu_answer(lines: Iterable[str], name: str) -> bytes:
    """Return the R-APDU of the answer to AT+CSIM or AT+CGLA, hexadecimal text quoted or not.

    The length counts characters (27.007 8.17, 8.43); some modems count bytes, and some leave the name away. Raises
    CodecError: no such line, a length that is not that of the text, no status word.
    """
    lines = tuple(lines)
    for line in lines:
        named = name_of(line) == name.upper()
        if named or _BARE_APDU.match(line):
            values = parameters(line, name) if named else fields(line)
            if len(values) != 2:
                raise CodecError(f"answer to AT{name}", expected="length and hexadecimal text", found=_short(line))
            response = _hex(values[0], values[1], f"answer to AT{name}", or_bytes=True)
            if len(response) < 2:
                raise CodecError(f"answer to AT{name}", expected="at least a status word", found=_short(line))
            return response
    found = "; ".join(_short(line) for line in lines) or "no line"
    raise CodecError(f"answer to AT{name}", expected=f"a line {name}: length,text", found=found)


def ccho_answer(lines: Iterable[str]) -> str:
    """Return the session handle of the answer to AT+CCHO: opaque text, with or without ``+CCHO:`` before it."""
    for line in lines:
        text = line
        if name_of(line) == "+CCHO":
            text = line[len("+CCHO") :].lstrip().removeprefix(":")
        text = text.strip().strip('"')
        if _HANDLE.match(text):
            return text
    raise CodecError("answer to AT+CCHO", expected="a session handle", found="; ".join(map(_short, lines)) or "no line")


def apdu_parameters(text: str, *, session: bool) -> tuple[str, bytes]:
    """Return (handle, C-APDU) of the parameters of AT+CGLA (``session``), or ("", C-APDU) of those of AT+CSIM.

    Raises CodecError.
    """
    values = fields(text)
    wanted = 3 if session else 2
    if len(values) != wanted:
        raise CodecError("AT parameters", expected=f"{wanted} of them", found=len(values))
    return (values[0] if session else ""), _hex(values[-2], values[-1], "AT parameters")


def cme_code(final: str) -> int | None:
    """Return the number of a final result code ``+CME ERROR: n``, also where the modem says it in words."""
    return _error_code(final, "+CME ERROR", CME_TEXTS) if final.upper().startswith("+CME ERROR") else None


def cms_code(final: str) -> int | None:
    """Return the number of a final result code ``+CMS ERROR: n``, also where the modem says it in words."""
    return _error_code(final, "+CMS ERROR", CMS_TEXTS) if final.upper().startswith("+CMS ERROR") else None


def error_text(final: str) -> str:
    """Say a final result code in words: ``+CME ERROR: 13`` is "SIM failure"; "" where there is nothing to add."""
    for code, texts in ((cme_code(final), CME_TEXTS), (cms_code(final), CMS_TEXTS)):
        if code is not None and code in texts and texts[code].lower() not in final.lower():
            return texts[code]
    return ""


def _error_code(final: str, name: str, texts: Mapping[int, str]) -> int | None:
    text = final[len(name) :].lstrip(": ").strip().strip('"')
    if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS:
        return int(text)
    known = next((code for code, words in texts.items() if words.lower() == text.lower()), None)
    return _OTHER_TEXTS.get(text.lower()) if known is None else known


def _hex(length: str, text: str, what: str, *, or_bytes: bool = False) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError as exc:
        raise CodecError(what, expected="hexadecimal text", found=_short(text)) from exc
    good = (len(text), len(data)) if or_bytes else (len(text),)
    if not (length.isascii() and length.isdigit()) or len(length) > _MAX_DIGITS or int(length) not in good:
        raise CodecError(what, expected=f"length {len(text)}, which is that of the text", found=_short(length))
    return data


def _checked_handle(handle: str) -> str:
    if not _HANDLE.match(handle):
        raise CodecError("session handle", expected="letters and digits", found=_short(handle))
    return handle


def _short(text: str, most: int = 60) -> str:
    return repr(text if len(text) <= most else text[:most] + "...")
