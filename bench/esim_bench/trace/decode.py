"""What an APDU means, in one line: the function by name, the file, the application, the result, the time.

The decoder follows each conversation (logical channel, or the session of a modem) of one slot, because a meaning needs
the past: which application is selected, which STORE DATA chain runs, what a GET RESPONSE answers. It never raises,
whatever the bytes are: a trace is most needed when a device sends nonsense.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final

from esim_bench.codec import es10, es10_iot, es10_iot_answers, esipa
from esim_bench.codec.apdu import channel_of, sw_text
from esim_bench.errors import BenchError
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
from esim_bench.trace import names
from esim_bench.trace.commands import Parts, Selection, describe_command, parts_of, strip_sw

LOAD_BPP: Final = "ES10b.LoadBoundProfilePackage"
_BPP: Final = 0xBF36
_MAX_CHAIN: Final = 1 << 20
SNIFFED: Final = "sniffed"
"""Stands before the meaning and the function of what a sniffer heard, to tell it from what the bench sent."""
_CARD_BEGINS_ANEW: Final = frozenset((SniffKind.ATR, SniffKind.RESET, SniffKind.INSERT, SniffKind.EJECT))


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one event means."""

    text: str
    function: str = ""
    """The function or command, for statistics: "ES10c.EnableProfile", "READ BINARY"; empty for what is not an APDU."""
    started: bool = False
    """This event begins the function."""
    ended: bool = False
    """This event ends the function (an ES10 function may take many APDUs)."""
    elapsed_ns: int = 0
    """With ``ended``: from the beginning of the function's first APDU to the end of its last."""


@dataclass(slots=True)
class _Call:
    """One ES10 function: a STORE DATA chain and its answer."""

    function: str
    began_ns: int
    request: bytearray
    next_block: int = 0
    last_block: int = 0
    retry: bool = False
    complete: bool = False
    response: bytearray = field(default_factory=bytearray)
    segment: str = ""


@dataclass(slots=True)
class _Load:
    """A bound profile package on its way into the eUICC (SGP.22 2.5.5): many chains, one function."""

    began_ns: int
    container: int = 0
    counts: dict[int, int] = field(default_factory=dict)

    def segment(self, tag: int) -> str | None:
        """Name the chain that begins with a tag; None when it is no part of a package."""
        if tag == _BPP:
            return "InitialiseSecureChannel"
        if tag in (0xA0, 0xA1, 0xA2, 0xA3):
            self.container = tag
            return {
                0xA0: "A0 ConfigureISDP",
                0xA1: "A1 StoreMetadata",
                0xA2: "A2 ReplaceSessionKeys",
                0xA3: "A3 profile elements",
            }[tag]
        if tag not in (0x86, 0x87, 0x88):
            return None
        self.counts[tag] = number = self.counts.get(tag, 0) + 1
        if tag == 0x86:
            return f"86 profile element segment {number}"
        if tag == 0x88:
            return f"88 StoreMetadata segment {number}"
        return f"87 {'ReplaceSessionKeys' if self.container == 0xA2 else 'ConfigureISDP'} segment {number}"


@dataclass(slots=True)
class _Conversation(Selection):
    """One logical channel or session: what is selected and what is under way."""

    call: _Call | None = None
    load: _Load | None = None


class ApduDecoder:
    """Names the APDUs of one slot, one after another."""

    def __init__(self) -> None:
        self._talks: dict[tuple[int, int], _Conversation] = {}
        self._heard: dict[str, ApduDecoder] = {}
        """By source: a module's own conversations with its card, which the bench's have nothing to do with."""

    def reset(self) -> None:
        """Forget everything of the bench's own conversations: the card was reset or lost its power."""
        self._talks.clear()

    def feed(self, event: ApduEvent) -> str:
        """Return the meaning of the next APDU as one line. Never raises."""
        return self.interpret(event).text

    def observe(self, event: Event) -> Meaning:
        """Return the meaning of any event; resets and power cuts are taken to heart. Never raises."""
        if isinstance(event, ApduEvent):
            return self.interpret(event)
        if isinstance(event, SniffedApduEvent):
            return self._sniffed(event)
        if isinstance(event, SniffEvent):
            if event.kind in _CARD_BEGINS_ANEW:
                self._heard.pop(event.source, None)
        elif isinstance(event, AtrEvent | PowerEvent):
            self.reset()
            if isinstance(event, PowerEvent):
                self._heard.clear()
        return Meaning(describe_event(event))

    def _sniffed(self, event: SniffedApduEvent) -> Meaning:
        if event.source not in self._heard:
            self._heard[event.source] = ApduDecoder()
        apdu = ApduEvent(event.at_ns, event.command, event.response, event.duration_ns)
        meaning = self._heard[event.source].interpret(apdu)
        flaws = f" ({event.flaws})" if event.flaws else ""
        function = f"{SNIFFED} {meaning.function}" if meaning.function else ""
        return replace(meaning, text=f"{SNIFFED}: {meaning.text}{flaws}", function=function)

    def interpret(self, event: ApduEvent) -> Meaning:
        """Return the meaning of the next APDU. Never raises."""
        try:
            return self._interpret(event)
        except Exception:
            # A decoder's mistake must not cost a record of the trace.
            return Meaning(f"? -> {event.response[-2:].hex().upper()}")

    def _interpret(self, event: ApduEvent) -> Meaning:
        parts = parts_of(event.command)
        if parts is None:
            return Meaning(f"no APDU: {len(event.command)} bytes", "?", True, True, event.duration_ns)
        data, sw = strip_sw(event.response)
        talk = self._talk(event.session, channel_of(parts.cla))
        if parts.ins == 0xE2 and talk.application in (None, "ISD-R"):
            return self._store_data(talk, parts, data, sw, event)
        if parts.ins == 0xC0 and talk.call is not None and talk.call.complete:
            return self._get_response(talk, talk.call, data, sw, event)
        if parts.ins not in (0x12, 0x14, 0xF2, 0xC2):
            # Polling and proactive commands may come in between; anything else abandons the chain.
            talk.call = None
        text = describe_command(talk, parts, data, sw)
        if parts.ins == 0x70 and sw == 0x9000:
            self._manage_channel(event.session, parts, data)
        name = names.INSTRUCTIONS.get(parts.ins, f"INS {parts.ins:02X}")
        return Meaning(f"{text} -> {sw_short(sw)}", name, True, True, event.duration_ns)

    def _talk(self, session: int, channel: int) -> _Conversation:
        talk = self._talks.get((session, channel))
        if talk is None:
            talk = self._talks[session, channel] = _Conversation()
            if len(self._talks) > 4096:  # a modem may hand out handles for ever
                del self._talks[next(iter(self._talks))]
        return talk

    def _manage_channel(self, session: int, parts: Parts, data: bytes) -> None:
        if parts.p1 & 0x80:
            self._talks.pop((session, parts.p2), None)
        else:
            channel = data[0] if data else parts.p2
            self._talks[session, channel] = _Conversation(application="MF")

    # -------------------------------------------------------------------------------------------------- ES10

    def _store_data(self, talk: _Conversation, parts: Parts, data: bytes, sw: int, event: ApduEvent) -> Meaning:
        call = talk.call
        started = False
        if call is not None and call.retry and parts.p2 == call.last_block:
            call.retry = False  # the same block again, after 6Cxx: its bytes are in the request already
        elif call is None or call.complete or parts.p2 != call.next_block or parts.p2 == 0:
            call, started = self._begin(talk, parts, event)
        elif len(call.request) < _MAX_CHAIN:
            call.request += parts.data
        call.last_block, call.next_block = parts.p2, (parts.p2 + 1) & 0xFF
        last = bool(parts.p1 & 0x80)
        label = f"{call.function} {call.segment}".rstrip()
        if sw >> 8 == 0x6C:
            call.retry = True
            return Meaning(f"{label} block {parts.p2} -> {sw_short(sw)}", call.function, started)
        if not _good(sw):
            return self._end(talk, call, f"{label} -> {sw_short(sw)}", started, event)
        if not last:
            return Meaning(f"{label} block {parts.p2} -> {sw_short(sw)}", call.function, started)
        call.complete = True
        call.response += data
        if sw >> 8 == 0x61:
            return Meaning(f"{label} block {parts.p2} (last) -> {sw_short(sw)}", call.function, started)
        return self._answer(talk, call, sw, started, event)

    def _begin(self, talk: _Conversation, parts: Parts, event: ApduEvent) -> tuple[_Call, bool]:
        tag = _first_tag(parts.data) if parts.p2 == 0 else 0
        segment = None
        started = True
        began = event.at_ns
        if tag == _BPP:
            talk.load = _Load(event.at_ns)
            segment = talk.load.segment(tag)
        elif talk.load is not None and parts.p2 == 0:
            segment = talk.load.segment(tag)
            if segment is None:
                talk.load = None
            else:
                started, began = False, talk.load.began_ns
        if segment is not None:
            function = LOAD_BPP
        elif tag in es10.FUNCTIONS:
            function = es10.FUNCTIONS[tag].name
        elif tag in es10_iot.FUNCTIONS:
            function = es10_iot.FUNCTIONS[tag].name
        else:
            function = f"STORE DATA {tag:X}" if tag else "STORE DATA"
        talk.call = call = _Call(function, began, bytearray(parts.data), segment=segment or "")
        return call, started

    def _get_response(self, talk: _Conversation, call: _Call, data: bytes, sw: int, event: ApduEvent) -> Meaning:
        if sw >> 8 == 0x6C:
            return Meaning(f"{call.function} GET RESPONSE -> {sw_short(sw)}", call.function)
        if not _good(sw):
            return self._end(talk, call, f"{call.function} GET RESPONSE -> {sw_short(sw)}", False, event)
        if len(call.response) < _MAX_CHAIN:
            call.response += data
        if sw >> 8 == 0x61:
            received = len(call.response)
            return Meaning(f"{call.function} response, {received} bytes so far -> {sw_short(sw)}", call.function)
        return self._answer(talk, call, sw, False, event)

    def _answer(self, talk: _Conversation, call: _Call, sw: int, started: bool, event: ApduEvent) -> Meaning:
        """The whole answer is here: name its result."""
        if call.segment and not call.response:
            talk.call = None
            blocks = f" ({call.last_block + 1} blocks)" if call.last_block else ""
            return Meaning(f"{call.function} {call.segment}{blocks} -> {sw_short(sw)}", call.function, started)
        request, response = bytes(call.request), bytes(call.response)
        if call.segment:
            text = f"{call.function} {_install_result(request, response)}"
        elif _is_iot(request):
            text = es10_iot_answers.describe(request, response)
        elif _first_tag(request) in es10.FUNCTIONS:
            text = es10.describe(request, response)
        else:
            text = f"{call.function} -> {len(response)} bytes" if response else f"{call.function} -> ok"
        if sw != 0x9000:
            text += f", {sw_short(sw)}"
        return self._end(talk, call, text, started, event)

    def _end(self, talk: _Conversation, call: _Call, text: str, started: bool, event: ApduEvent) -> Meaning:
        talk.call = None
        if call.segment:
            talk.load = None
        elapsed = max(0, event.at_ns + event.duration_ns - call.began_ns)
        return Meaning(f"{text}, {milliseconds(elapsed)}", call.function, started, True, elapsed)


def _is_iot(request: bytes) -> bool:
    """Tell whether a request is one of SGP.32: by its tag, or by a search for package results (BF2B { A0 { 82 } })."""
    tag = _first_tag(request)
    if tag == es10_iot.RETRIEVE_NOTIFICATIONS_LIST:
        return request[3:6] == b"\xa0\x02\x82"
    return tag in es10_iot.FUNCTIONS and tag not in es10.FUNCTIONS


def _install_result(request: bytes, response: bytes) -> str:
    """Say a ProfileInstallationResult (BF37, SGP.22 5.7.6) in short."""
    try:
        result = es10.InstallResult.parse(response)
    except (BenchError, ValueError, LookupError):
        return f"-> {len(response)} bytes"
    if result.success:
        aid = names.application(result.isdp_aid) if result.isdp_aid else None
        return f"-> ok{f', {aid}' if aid else ''}"
    return f"-> {result.command}: {result.reason}"


def _good(sw: int) -> bool:
    return sw == 0x9000 or sw >> 8 in (0x61, 0x62, 0x63, 0x91, 0x92)


def _first_tag(data: bytes | bytearray) -> int:
    """Return the tag that data begins with, as far as it is there; 0 when there is none."""
    if not data:
        return 0
    if data[0] & 0x1F != 0x1F:
        return data[0]
    for end in range(1, min(len(data), 4)):
        if not data[end] & 0x80:
            return int.from_bytes(data[: end + 1], "big")
    return 0


def sw_short(sw: int) -> str:
    """Return a status word with its meaning where it is not plain success."""
    if sw == 0x9000:
        return "9000"
    if sw < 0:
        return "no status word"
    return f"{sw:04X} {sw_text(sw)}"


def milliseconds(elapsed_ns: int) -> str:
    """Return a duration for humans: "42 ms", "0.3 ms"."""
    value = elapsed_ns / 1e6
    return f"{value:.0f} ms" if value >= 10 or value == 0 else f"{value:.1f} ms"


# ------------------------------------------------------------------------------------------------------ other events

_INTERFACES: Final = {"es9plus": "ES9+", "es11": "ES11", "es8plus": "ES8+", "esipa": "ESipa", "es12": "ES12"}
_STATUS = re.compile(rb'"status"\s*:\s*"([A-Za-z-]{1,40})"')
_CODES = re.compile(rb'"(subjectCode|reasonCode)"\s*:\s*"([0-9.]{1,20})"')


def describe_event(event: Event) -> str:
    """Return any event but an APDU as one line. Never raises."""
    match event:
        case AtrEvent():
            return f"{'cold' if event.cold else 'warm'} ATR {event.atr.hex().upper()}"
        case PowerEvent():
            return f"power {event.action.value}" + (f": {event.detail}" if event.detail else "")
        case AtEvent():
            return f"{event.direction} {event.line}"
        case RspEvent():
            return _describe_rsp(event)
        case MarkEvent():
            return event.text
        case SniffEvent():
            return _describe_sniff(event)
        case UartEvent(cut=cut):
            return event.line + (f" [{cut} bytes more]" if cut else "")
        case SampleEvent():
            return _describe_sample(event)
        case ApduEvent() | SniffedApduEvent():
            return ApduDecoder().observe(event).text


def rsp_function(url: str) -> str:
    """Return the RSP function that a URL names: "ES9+.InitiateAuthentication"; the URL itself when it names none."""
    path = url.partition("?")[0].rstrip("/").split("/")
    if len(path) < 2 or path[-2] not in _INTERFACES or not path[-1]:
        return url
    return f"{_INTERFACES[path[-2]]}.{path[-1][0].upper()}{path[-1][1:]}"


def _describe_rsp(event: RspEvent) -> str:
    status = _STATUS.search(event.response)
    outcome = f" {status[1].decode()}" if status else ""
    codes = {name: value.decode() for name, value in _CODES.findall(event.response)}
    if codes:
        outcome += f" {codes.get(b'subjectCode', '?')}/{codes.get(b'reasonCode', '?')}"
    if event.url.endswith(esipa.PATH) and _first_tag(event.request) in esipa.BY_TAG:
        # ES9+ has its messages inside A2 on the same path.
        text = esipa.describe(event.request, event.response)
        return f"{text}, HTTP {event.status}, {milliseconds(event.duration_ns)} {event.url}"
    name = rsp_function(event.url)
    where = f" {event.url}" if name != event.url else ""
    sizes = f"{len(event.request)} bytes out, {len(event.response)} in"
    return f"{name} -> {event.status}{outcome}, {milliseconds(event.duration_ns)}, {sizes}{where}"


_SNIFFS: Final = {
    SniffKind.SPEED: "speed changed",
    SniffKind.INSERT: "card inserted",
    SniffKind.EJECT: "card ejected",
    SniffKind.RESET: "reset asserted",
    SniffKind.RELEASE: "reset released",
    SniffKind.TIMEOUT: "waiting time over: the card was silent",
}


def _describe_sniff(event: SniffEvent) -> str:
    text = _SNIFFS.get(event.kind) or (event.kind.name if event.kind is not SniffKind.NOISE else "no exchange:")
    if event.data:
        text += f" {event.data.hex().upper()}"
    return f"{SNIFFED}: {text}" + (f", {event.detail}" if event.detail else "")


def _describe_sample(event: SampleEvent) -> str:
    parts = [] if event.amperes is None else [f"{event.amperes * 1000:.1f} mA"]
    if event.volts is not None:
        parts.append(f"{event.volts:.3f} V")
    return ", ".join(parts) or "no value"
