"""Secrets stay in: what a trace of a real slot must not hold is overwritten before it is written, length unchanged.

Hidden are: the data of VERIFY, CHANGE, DISABLE, ENABLE and UNBLOCK PIN; the answers to AUTHENTICATE; the matching id
and the hashed confirmation code of a download, in the APDUs of ES10b, in the messages of ES9+ and ESipa, and where the
eUICC's signed answers repeat them; the same bytes inside AT lines; AT+CPIN, AT+CPWD, AT+CLCK; and any word the caller
names. What was sniffed is treated like our own; where bytes may have been lost nobody can tell what is a secret, so all
is hidden. In the lines of a debug UART AT commands and dumps of PIN commands are found wherever they stand.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from esim_bench.codec import tlv
from esim_bench.codec.apdu import channel_of
from esim_bench.errors import CodecError
from esim_bench.events import (
    ApduEvent,
    AtEvent,
    AtrEvent,
    Event,
    MarkEvent,
    PowerEvent,
    RspEvent,
    SampleEvent,
    SniffedApduEvent,
    SniffEvent,
    SniffKind,
    UartEvent,
)
from esim_bench.trace.records import Span

FILLER: Final = 0x2A
"""What stands in a hidden place: an asterisk, as a byte and as a character."""

# Paths of tags that end at a secret: the matching id in ctxParams1 and in euiccSigned1 that repeats it, the hashed
# confirmation code in the request and in euiccSigned2 (SGP.22 5.7.13, 5.7.5). Then the same in the forms of SGP.32: in
# compact answers, the activation code of a trigger, and what an eIM adds to a download (SGP.32 2.11.1.3, 6.3.2).
_SECRET_PATHS: Final = (
    (0xBF38, 0xA0, 0x80),
    (0xBF38, 0xA0, 0x30, 0xA0, 0x80),
    (0xBF21, 0x04),
    (0xBF21, 0xA0, 0x30, 0x04),
    (0xBF38, 0xA2, 0xA0, 0xA2, 0xA0, 0x80),
    (0xBF38, 0xA2, 0x30, 0xA0, 0x80),
    (0xBF21, 0xA2, 0x30, 0x04),
    (0xBF54, 0xA0, 0x80),
    (0xBF39, 0xA0, 0x0C),
    (0xBF39, 0xA0, 0xA2, 0xA0, 0x80),
    (0xBF3B, 0xA0, 0x04),
)
_PIN_COMMANDS: Final = frozenset((0x20, 0x24, 0x26, 0x28, 0x2C))
_AUTHENTICATE: Final = frozenset((0x88, 0x89))
_ANY_AUTHENTICATE: Final = 0x88
_MAX_STREAM: Final = 1 << 18


class Mask(Protocol):
    """Hides secrets in the events of one slot; called with each event once, in order."""

    def apply(self, event: Event) -> tuple[Event, tuple[Span, ...]]:
        """Return the event with its secrets overwritten, and where they were; the lengths stay. Must not raise."""


def secret_ranges(data: bytes) -> Iterator[Span]:
    """Yield (start, end) of secrets in TLV data, which may be cut off anywhere; an end may lie past the data."""
    yield from _walk(data, 0, len(data), ())


def _walk(data: bytes, start: int, end: int, path: tuple[int, ...]) -> Iterator[Span]:
    while start < min(end, len(data)):
        try:
            tag, length, body = tlv.parse_header(data, start)
        except CodecError:
            return
        here = (*path, tag)
        if any(here[-len(secret) :] == secret for secret in _SECRET_PATHS):
            yield body, body + length
        elif tlv.tag_bytes(tag)[0] & 0x20 and len(here) < 12:
            yield from _walk(data, body, min(body + length, end), here)
        start = body + length


@dataclass(slots=True)
class _Stream:
    """One conversation with the card: the STORE DATA chain that runs, and the answer that comes in pieces."""

    request: bytearray = field(default_factory=bytearray)
    response: bytearray = field(default_factory=bytearray)
    ins: int = 0
    last_header: bytes = b""
    last_length: int = 0
    doubt: bool = False
    """What went before was not heard: an answer, or the rest of a chain, may be a secret."""


class _ApduMask:
    """Finds the secrets in the commands and responses of one card, each seen once, in order."""

    def __init__(self, *, doubt: bool = False) -> None:
        self._streams: dict[tuple[int, int], _Stream] = {}
        self._doubt = doubt

    def reset(self) -> None:
        self._streams.clear()
        self._doubt = False

    def lose(self) -> None:
        """Take note that something was not heard: from here on all is hidden that an earlier command could explain."""
        self._streams.clear()
        self._doubt = True

    def _stream(self, session: int, cla: int) -> _Stream:
        key = session, channel_of(cla)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream(ins=_ANY_AUTHENTICATE if self._doubt else 0, doubt=self._doubt)
        return stream

    def command(self, session: int, command: bytes) -> list[Span]:
        """Return (start, end) of secrets in a command."""
        if len(command) < 5:
            return []
        stream = self._stream(session, command[0])
        ins = command[1]
        if ins == 0xC0:
            return []
        lc = command[4]
        data = command[5 : 5 + lc]
        if stream.doubt and ins == 0xE2 and command[3]:
            return [(5, 5 + len(data))] if data else []  # in the middle of a chain
        stream.doubt = False
        stream.ins = ins
        stream.response.clear()
        if ins in _PIN_COMMANDS:
            return [(5, 5 + len(data))] if len(command) > 5 else []
        if ins != 0xE2:
            return []
        if command[3] == 0:
            stream.request.clear()
        elif command[:4] == stream.last_header and stream.last_length:
            del stream.request[-stream.last_length :]  # the same block again (6Cxx)
        stream.last_header, stream.last_length = command[:4], len(data)
        begin = len(stream.request)
        if begin < _MAX_STREAM:
            stream.request += data
        return _cut(secret_ranges(bytes(stream.request)), begin, len(data), 5)

    def response(self, session: int, command: bytes, response: bytes) -> list[Span]:
        """Return (start, end) of secrets in the response to a command."""
        size = len(response) - 2
        if len(command) < 4 or size <= 0:
            return []
        stream = self._stream(session, command[0])
        if stream.ins in _AUTHENTICATE:
            return [(0, size)]
        if stream.ins != 0xE2:
            return []
        begin = len(stream.response)
        if begin < _MAX_STREAM:
            stream.response += response[:-2]
        return _cut(secret_ranges(bytes(stream.response)), begin, size, 0)


def _cut(ranges: Iterable[Span], begin: int, size: int, shift: int) -> list[Span]:
    """Cut ranges of a stream down to the piece of it that begins at ``begin``; count from ``-shift`` of the piece."""
    found = []
    for start, end in ranges:
        start, end = max(start, begin), min(end, begin + size)
        if start < end:
            found.append((start - begin + shift, end - begin + shift))
    return found


def _fill(data: bytes, ranges: Iterable[Span]) -> bytes:
    filled = bytearray(data)
    for start, end in ranges:
        filled[start:end] = bytes((FILLER,)) * (end - start)
    return bytes(filled)


_CARRIED_COMMAND: Final = re.compile(r'^(AT\+CSIM=\d+,"?|AT\+CGLA=(\d+),\d+,"?)([0-9A-Fa-f]+)', re.IGNORECASE)
_CARRIED_RESPONSE: Final = re.compile(r'^(\+CSIM:\s*\d+,"?|\+CGLA:\s*\d+,"?)([0-9A-Fa-f]+)', re.IGNORECASE)
_AT_SECRET: Final = re.compile(r"AT\+(?:CPIN2?|CPWD|CLCK|CPUK\w*|QPIN\w*)=(.*)", re.IGNORECASE)
_QUOTED: Final = re.compile(r'"([^"]*)"|(?<![\w"])(\d{4,8})(?![\w"])')
_FIELDS: Final = re.compile(
    rb'"(?:authenticateServerResponse|prepareDownloadResponse|profileDownloadTriggerRequest)"\s*:\s*"([^"]*)"'
)
"""Objects with a secret in them, in ES9+ (SGP.22 6.5.2) and ESipa (SGP.32 6.4)."""
_WHOLE_FIELDS: Final = re.compile(rb'"(?:matchingId|hashCc|ctxParams1)"\s*:\s*"([^"]*)"')
"""Fields of ESipa that are secrets as a whole."""


_CUT_SHORT: Final = "incomplete"
"""The one flaw of a sniffed APDU that leaves its beginning sound."""
_MAX_LINE: Final = 4096
_LOGGED_COMMAND: Final = re.compile(r"""AT\+(?:CSIM=\d+|CGLA=(\d+),\d+),\s*"?([0-9A-F]+)""", re.IGNORECASE)
_LOGGED_RESPONSE: Final = re.compile(r"""\+(?:CSIM|CGLA):\s*\d+,\s*"?([0-9A-F]+)""", re.IGNORECASE)
_LOGGED_SECRET: Final = re.compile(r"\+(?:CPIN2?|CPWD|CLCK|CPUK\w*|QPIN\w*)\s*=(.*)", re.IGNORECASE | re.DOTALL)
_LOGGED_PIN: Final = re.compile(
    r"(?<![0-9A-F])[0-9A-F]{2}([ :]?)2[0468C]\1[0-9A-F]{2}\1[0-9A-F]{2}\1(?:08|10)\1((?:[0-9A-F]{2}\1?){1,16})",
    re.IGNORECASE,
)
"""A dump of VERIFY, CHANGE, DISABLE, ENABLE or UNBLOCK PIN (TS 102 221 11.1.9 to 11.1.13)."""


class _LogMask:
    """Finds secrets in the lines of one log, wherever they stand in a line, also where a line comes in pieces."""

    def __init__(self) -> None:
        self._begun = ""
        self._carried = _ApduMask()
        self._sent = b"\0\0\0\0"

    def apply(self, line: str, *, ended: bool) -> str:
        """Return the next line, or piece of one, with its secrets overwritten; the number of characters stays."""
        before = self._begun
        whole = before + line
        self._begun = "" if ended else whole[-_MAX_LINE:]
        return self._hide(whole)[len(before) :]

    def _hide(self, text: str) -> str:
        if found := _LOGGED_COMMAND.search(text):
            self._sent = _unhex(found[2])
            text = _star(text, self._carried.command(0, self._sent), found.start(2))
        elif found := _LOGGED_RESPONSE.search(text):
            text = _star(text, self._carried.response(0, self._sent, _unhex(found[1])), found.start(1))
        if found := _LOGGED_SECRET.search(text):
            text = text[: found.start(1)] + re.sub(r"\w", "*", found[1])
        return _LOGGED_PIN.sub(lambda pin: pin[0][: pin.start(2) - pin.start()] + re.sub(r"\w", "*", pin[2]), text)


class SecretMask:
    """The policy for real slots. ``words`` are texts to hide wherever they stand (matching ids, known codes)."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._words = sorted({word for word in words if word}, key=lambda word: (-len(word), word))
        self._card = _ApduMask()
        self._carried = _ApduMask()
        self._sent: tuple[int, bytes] = (0, b"")
        self._echo = ("", "")
        self._heard: dict[str, _ApduMask] = {}
        self._uart: dict[str, _LogMask] = {}

    def add(self, words: Iterable[str]) -> None:
        """Hide more words, from now on."""
        self._words = sorted({*self._words, *(word for word in words if word)}, key=lambda word: (-len(word), word))

    def apply(self, event: Event) -> tuple[Event, tuple[Span, ...]]:
        """Return the event with its secrets overwritten, and where they were."""
        match event:
            case ApduEvent():
                return self._apdu(event)
            case AtEvent():
                return self._at(event)
            case RspEvent():
                return self._rsp(event)
            case MarkEvent():
                text, spans = self._hide_words(event.text)
                return (replace(event, text=text), spans) if spans else (event, ())
            case PowerEvent() | AtrEvent():
                self._card.reset()
                self._carried.reset()
                return event, ()
            case SniffedApduEvent():
                return self._sniffed(event)
            case SniffEvent():
                return self._wire(event)
            case UartEvent():
                return self._uart_line(event)
            case SampleEvent():
                return event, ()

    def _apdu(self, event: ApduEvent) -> tuple[Event, tuple[Span, ...]]:
        sent = self._card.command(event.session, event.command)
        received = self._card.response(event.session, event.command, event.response)
        if not sent and not received:
            return event, ()
        masked = replace(event, command=_fill(event.command, sent), response=_fill(event.response, received))
        return masked, _spans(event.command, sent, received)

    def _sniffed(self, event: SniffedApduEvent) -> tuple[Event, tuple[Span, ...]]:
        mask = self._heard_from(event.source)
        if event.flaws not in ("", _CUT_SHORT):
            # Bytes were lost or changed: what looks like a header may be a PIN.
            mask.lose()
            sent, received = [(0, len(event.command))], [(0, max(0, len(event.response) - 2))]
        else:
            sent = mask.command(0, event.command)
            received = mask.response(0, event.command, event.response)
        sent, received = [one for one in sent if one[0] < one[1]], [one for one in received if one[0] < one[1]]
        if not sent and not received:
            return event, ()
        masked = replace(event, command=_fill(event.command, sent), response=_fill(event.response, received))
        return masked, _spans(event.command, sent, received)

    def _heard_from(self, source: str) -> _ApduMask:
        # A sniffer may begin in the middle of an exchange.
        return self._heard.setdefault(source, _ApduMask(doubt=True))

    def _wire(self, event: SniffEvent) -> tuple[Event, tuple[Span, ...]]:
        if event.kind in (SniffKind.ATR, SniffKind.RESET, SniffKind.EJECT):
            self._heard_from(event.source).reset()
        if event.kind is not SniffKind.NOISE:
            return event, ()
        self._heard_from(event.source).lose()
        if not event.data:
            return event, ()
        size = len(event.data)
        return replace(event, data=bytes((FILLER,)) * size), ((0, size),)

    def _uart_line(self, event: UartEvent) -> tuple[Event, tuple[Span, ...]]:
        log = self._uart.setdefault(event.source, _LogMask())
        masked, _ = self._hide_words(log.apply(event.line, ended=event.ended))
        if masked == event.line:
            return event, ()
        return replace(event, line=masked), _differences(_utf8(event.line), _utf8(masked))

    def _at(self, event: AtEvent) -> tuple[Event, tuple[Span, ...]]:
        line = event.line
        if event.direction == "<" and line and line == self._echo[0]:
            masked = self._echo[1]
        else:
            masked = self._at_line(line)
            if event.direction == ">":
                self._echo = (line, masked)
        masked, _ = self._hide_words(masked)
        if masked == line:
            return event, ()
        return replace(event, line=masked), _differences(_utf8(line), _utf8(masked))

    def _at_line(self, line: str) -> str:
        if found := _CARRIED_COMMAND.match(line):
            command = _unhex(found[3])
            session = int(found[2] or 0)
            self._sent = (session, command)
            return _star(line, self._carried.command(session, command), found.start(3))
        if found := _CARRIED_RESPONSE.match(line):
            session, command = self._sent
            return _star(line, self._carried.response(session, command, _unhex(found[2])), found.start(2))
        if found := _AT_SECRET.search(line):
            head, tail = line[: found.start(1)], found[1]
            return head + _QUOTED.sub(_hide_digits, tail)
        return line

    def _rsp(self, event: RspEvent) -> tuple[Event, tuple[Span, ...]]:
        request, response = self._body(event.request), self._body(event.response)
        url, in_url = self._hide_words(event.url)
        if request == event.request and response == event.response and not in_url:
            return event, ()
        spans = _differences(event.request + event.response, request + response)
        return replace(event, url=url, request=request, response=response), spans

    def _body(self, body: bytes) -> bytes:
        if body[:1] in (b"\xa2", b"\xbf", b"\x30"):  # the ASN.1 binding, a bare TLV
            body = _fill(body, secret_ranges(body))
        else:
            body = _WHOLE_FIELDS.sub(_hide_whole, _FIELDS.sub(_hide_field, body))
        for word in self._words:
            body = body.replace(word.encode(), b"*" * len(word.encode()))
        return body

    def _hide_words(self, text: str) -> tuple[str, tuple[Span, ...]]:
        hidden = text
        for word in self._words:
            hidden = hidden.replace(word, "*" * len(word.encode()))
        # Where a word is not ASCII the stars are as many as its bytes, so that the length in bytes stays.
        return (hidden, _differences(_utf8(text), _utf8(hidden))) if hidden != text else (text, ())


def _spans(command: bytes, sent: Iterable[Span], received: Iterable[Span]) -> tuple[Span, ...]:
    """Return (start, end) in command and response as (offset, length) in both together."""
    size = len(command)
    return (
        *((start, end - start) for start, end in sent),
        *((size + start, end - start) for start, end in received),
    )


def _hide_digits(found: re.Match[str]) -> str:
    """Hide a quoted or bare number; facility names ("SC") and modes stay readable."""
    text = found[0]
    inner = found[1] if found[1] is not None else found[2]
    return text.replace(inner, "*" * len(inner)) if any(char.isdigit() for char in inner) and len(inner) >= 3 else text


def _hide_field(found: re.Match[bytes]) -> bytes:
    """Hide the secrets in a base64 field of an ES9+ message; length and base64 stay valid."""
    text = found[1]
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        hidden = b"*" * len(text)  # not readable for us: nothing of it is kept
    else:
        hidden = base64.b64encode(_fill(data, secret_ranges(data)))
    start, end = found.start(1) - found.start(), found.end(1) - found.start()
    return found[0][:start] + hidden + found[0][end:]


def _hide_whole(found: re.Match[bytes]) -> bytes:
    start, end = found.start(1) - found.start(), found.end(1) - found.start()
    return found[0][:start] + b"*" * (end - start) + found[0][end:]


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text[: len(text) & ~1])


def _star(line: str, ranges: Iterable[Span], at: int) -> str:
    for start, end in ranges:
        line = line[: at + 2 * start] + "*" * (2 * (end - start)) + line[at + 2 * end :]
    return line


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _differences(old: bytes, new: bytes) -> tuple[Span, ...]:
    """Return where two byte strings of one length differ, as (offset, length)."""
    spans: list[Span] = []
    for index, (before, after) in enumerate(zip(old, new, strict=False)):
        if before == after and not (spans and after == FILLER and sum(spans[-1]) == index):
            continue
        if spans and sum(spans[-1]) == index:
            spans[-1] = (spans[-1][0], spans[-1][1] + 1)
        else:
            spans.append((index, 1))
    return tuple(spans)
