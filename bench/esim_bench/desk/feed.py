"""What a journal tells of its slot's state: who is in it, its profiles, its network, its power, how far a run is.

A journal of thousands of records a second is not read: only its marks, its power, the modem's answers about the network
and the few functions that tell or change the profiles are, and of many alike the latest.
"""

from __future__ import annotations

import bisect
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from esim_bench.codec import at, at_status, es10, euicc_package, tlv
from esim_bench.codec.at_status import REGISTRATION_COMMANDS, RegistrationState
from esim_bench.codec.es10 import iccid_to_text
from esim_bench.codec.euicc_operations import Delete, Disable, Enable, UnknownOperation
from esim_bench.codec.iot_info import iot_profile_infos
from esim_bench.codec.tlv import Tlv
from esim_bench.desk.api import ProfileView
from esim_bench.desk.board import BAD, Power
from esim_bench.desk.profile_views import profile_view
from esim_bench.errors import BenchError, CodecError
from esim_bench.events import ApduEvent, AtEvent, AtrEvent, Event, MarkEvent, PowerAction, PowerEvent
from esim_bench.scenario import marks
from esim_bench.trace.columns import ROWS
from esim_bench.trace.index import Filter, TraceIndex

_MARKS: Final = Filter(kinds=frozenset((5,)))
_POWER: Final = Filter(kinds=frozenset((1, 2)))
_APDUS: Final = Filter(kinds=frozenset((0,)))
_ERRORS: Final = Filter(errors=True)
_LIST, _EID = "ES10c.GetProfilesInfo", "ES10c.GetEID"
_CHANGES: Final = frozenset(
    (
        "ES10c.EnableProfile",
        "ES10c.DisableProfile",
        "ES10c.DeleteProfile",
        "ES10c.SetNickname",
        "ES10c.eUICCMemoryReset",
        "ES10b.eUICCMemoryReset",
        "ES10b.LoadEuiccPackage",
        "ES10b.ProfileRollback",
        "ES10b.ImmediateEnable",
        "ES10b.EnableEmergencyProfile",
        "ES10b.DisableEmergencyProfile",
        "ES10b.ExecuteFallbackMechanism",
        "ES10b.ReturnFromFallback",
    )
)
_FUNCTIONS: Final = Filter(functions=_CHANGES | {_LIST, _EID})
_TOLD: Final = re.compile(rb"\+(?:C(?:5G|E|G)?REG|COPS|CE?SQ|CFUN)[:=]")
"""In the lines of a modem that say something of its network."""
_OFF: Final = re.compile(r"AT\+CFUN=(?:[04]|1,1)(?:,.*)?", re.IGNORECASE)
_DOMAINS: Final = {name: domain for domain, name in REGISTRATION_COMMANDS.items()}
_AT_BLOCKS: Final = 4
"""Blocks of records, from the end on, in which such lines are looked for: what is older has been said again."""
_MOST_MARKS: Final = 2000
_MOST: Final = 48
"""Of others than marks that are looked at in one go, the latest."""
_FEW: Final = 4096
"""New records among which all are looked for: of more only the latest, from the end on."""
_LONGEST: Final = 16 * 1024
"""Bytes of an answer that are put together."""


@dataclass(slots=True)
class Facts:
    """What was seen of a slot so far."""

    simulated: bool = True
    eid: str = ""
    profiles: dict[str, ProfileView] = field(default_factory=dict)
    """By ICCID, in the eUICC's order; empty where they are not known."""
    aids: dict[bytes, str] = field(default_factory=dict)
    """ICCIDs by the AID of their ISD-P."""
    operator: str = ""
    domains: dict[str, RegistrationState] = field(default_factory=dict)
    signal_dbm: int | None = None
    power: Power = "unknown"
    proof: str = ""
    scenario: str = ""
    step: str = ""
    steps_done: int = 0
    outcome: str = ""
    """"" from the first mark of a scenario to its last one."""
    reason: str = ""

    @property
    def registration(self) -> str:
        """Say the best of the states of registration."""
        best = max(self.domains.values(), key=_worth, default=None)
        return "" if best is None else best.name.lower().replace("_", " ")

    def unlink(self) -> None:
        """Forget the network: the modem has lost its power, or was reset."""
        self.operator, self.signal_dbm = "", None
        self.domains.clear()


def _worth(state: RegistrationState) -> int:
    order = (RegistrationState.SEARCHING, RegistrationState.DENIED, RegistrationState.EMERGENCY)
    if state.registered:
        return 9
    return 2 + order.index(state) if state in order else int(state is not RegistrationState.UNKNOWN)


@dataclass(slots=True)
class _Call:
    """A function of the eUICC under way."""

    request: bytearray = field(default_factory=bytearray)
    response: bytearray = field(default_factory=bytearray)


class Feed:
    """Reads one journal into the facts of its slot; in the thread that lets its index grow."""

    def __init__(self, index: TraceIndex, facts: Facts) -> None:
        self.index = index
        self.facts = facts
        self.apdus = 0
        self.errors = 0
        self._next = 0
        self._calls: dict[int, _Call] = {}
        self._sealed = 0
        self._sealed_counts = (0, 0)

    def take(self) -> bool:
        """Take in the records that are new to it; tell whether there were any. Raises OSError."""
        index, start, size = self.index, self._next, len(self.index)
        if start >= size:
            return False
        told = index.find(_MARKS, start, _MOST_MARKS)
        if len(told) == _MOST_MARKS:
            size = told[-1] + 1  # the others with the next call
        self._next = size
        told += self._latest(_POWER, start, size)
        told += self._latest(_FUNCTIONS, start, size)
        told += self._lines(start, size)
        for number in sorted(told):
            self._event(index.record(number).event)
        self._count(size)
        return True

    def _latest(self, wanted: Filter, start: int, size: int) -> list[int]:
        if size - start <= _FEW:
            return [number for number in self.index.hits(wanted, start) if number < size][-_MOST:]
        found: list[int] = []
        for number in self.index.hits(wanted, size - 1, backward=True):
            if number < start or len(found) == _MOST:
                break
            found.append(number)
        return found

    def _lines(self, start: int, size: int) -> list[int]:
        """Return the records with what a modem said of its network, the latest ones."""
        found: list[int] = []
        first_block = max(start // ROWS, (size - 1) // ROWS - _AT_BLOCKS + 1)
        for block in range(first_block, (size - 1) // ROWS + 1):
            first = max(start, block * ROWS)
            data, places = self.index.raw(first, min(size, (block + 1) * ROWS) - first)
            for match in _TOLD.finditer(data):
                number = first + bisect.bisect_right(places, match.start()) - 1
                if not found or found[-1] != number:
                    found.append(number)
        return found[-_MOST:]

    def _count(self, size: int) -> None:
        """Count APDUs and errors; full blocks only once."""
        index = self.index
        apdus, errors = index.test(_APDUS), index.test(_ERRORS)
        while (self._sealed + 1) * ROWS <= size:
            self._sealed_counts = (
                self._sealed_counts[0] + index.hits_of(_APDUS, apdus, self._sealed),
                self._sealed_counts[1] + index.hits_of(_ERRORS, errors, self._sealed),
            )
            self._sealed += 1
        self.apdus, self.errors = self._sealed_counts
        if rest := size - self._sealed * ROWS:
            self.apdus += index.hits_of(_APDUS, apdus, self._sealed, rest)
            self.errors += index.hits_of(_ERRORS, errors, self._sealed, rest)

    # --------------------------------------------------------------------------------------------------- what they say

    def _event(self, event: Event) -> None:
        with suppress(BenchError, ValueError, LookupError):  # what cannot be read says nothing of the slot
            match event:
                case MarkEvent():
                    self._mark(event.text)
                case PowerEvent():
                    self._power(event)
                case AtrEvent():
                    self._calls.clear()
                    self.facts.power = "on"
                case AtEvent(direction=">"):
                    if _OFF.fullmatch(event.line.strip()):
                        self.facts.unlink()
                case AtEvent():
                    self._line(event.line)
                case ApduEvent():
                    self._apdu(event)

    def _mark(self, text: str) -> None:
        facts = self.facts
        match marks.parse(text):
            case marks.ScenarioBegan(scenario):
                self._begin(scenario)
            case marks.StepBegan(name):
                facts.step = name
            case marks.StepEnded(name, outcome, detail):
                facts.step = ""
                facts.steps_done += 1
                if outcome.value in BAD and not facts.reason:
                    facts.reason = f"{name}: {detail}" if detail else name
            case marks.ScenarioEnded(scenario, outcome):
                facts.scenario, facts.step, facts.outcome = scenario, "", outcome.value

    def _begin(self, scenario: str) -> None:
        facts = self.facts
        facts.scenario, facts.step, facts.steps_done, facts.outcome, facts.reason = scenario, "", 0, "", ""
        if facts.simulated:
            # A run begins with cards as they left the factory.
            facts.profiles.clear()
            facts.unlink()
            facts.power, facts.proof = "unknown", ""

    def _power(self, event: PowerEvent) -> None:
        facts = self.facts
        match event.action:
            case PowerAction.ON:
                facts.power, facts.proof = "on", ""
            case PowerAction.OFF:
                facts.power, facts.proof = "off", ""
                facts.unlink()
                self._calls.clear()
            case PowerAction.PROOF:
                facts.proof = event.detail

    def _line(self, line: str) -> None:
        facts, name = self.facts, at.name_of(line)
        if name in _DOMAINS:
            state = at_status.registration([line], name)
            if state is not None:
                facts.domains[_DOMAINS[name]] = state
                if not any(one.registered for one in facts.domains.values()):
                    facts.operator = ""
        elif name in ("+CSQ", "+CESQ"):
            signal = at_status.signal([line], [line])
            facts.signal_dbm = signal.rsrp_dbm if signal.rsrp_dbm is not None else signal.rssi_dbm
        elif name == "+COPS" and "(" not in line:
            values = at.fields(line.partition(":")[2])
            facts.operator = values[2] if len(values) > 2 else ""
        elif name == "+CFUN" and at_status.functionality([line]) in (0, 4):
            facts.unlink()

    # ------------------------------------------------------------------------------------------------------- the eUICC

    def _apdu(self, event: ApduEvent) -> None:
        """Put a function's request and answer together."""
        command, ins = event.command, event.command[1]
        data, sw = event.response[:-2], int.from_bytes(event.response[-2:], "big")
        if ins == 0xE2:
            if command[3] == 0:
                self._calls[event.session] = _Call()
                if len(self._calls) > 64:
                    del self._calls[next(iter(self._calls))]
            call = self._calls.get(event.session)
            if call is None:
                return
            if sw >> 8 != 0x6C:
                call.request += command[5 : 5 + command[4]]
        else:
            call = self._calls.get(event.session)
            if call is None or ins != 0xC0:
                return
        call.response += data
        if len(call.response) > _LONGEST or len(call.request) > _LONGEST:
            del self._calls[event.session]
        elif sw >> 8 in (0x90, 0x91) and (ins == 0xC0 or command[2] & 0x80):
            del self._calls[event.session]
            self._function(tlv.parse_prefix(bytes(call.request)), bytes(call.response))

    def _function(self, request: Tlv, response: bytes) -> None:
        tag = es10.Tag
        if request.tag == tag.GET_EID:
            self.facts.eid = tlv.parse(response).get(0x5A).value.hex().upper()
        elif request.tag == tag.GET_PROFILES_INFO:
            self._list(request, response)
        elif request.tag == tag.SET_NICKNAME:
            self._nickname(request, response)
        elif request.tag in (tag.ENABLE_PROFILE, tag.DISABLE_PROFILE, tag.DELETE_PROFILE):
            if _succeeded(response):
                self._changed(request)
        elif request.tag == euicc_package.TAG:
            try:
                self._package(request.raw, response)
            except BenchError:
                self.facts.profiles.clear()
        elif request.tag != tag.EUICC_MEMORY_RESET or _succeeded(response):
            # A fallback, a rollback: what it did to the profiles is known when they are listed again.
            self.facts.profiles.clear()

    def _list(self, request: Tlv, response: bytes) -> None:
        facts = self.facts
        found: dict[str, ProfileView] = {}
        wanted = request.find(0x5C)
        asked = _BY_DEFAULT if wanted is None else wanted.value
        for one in iot_profile_infos(tlv.parse(response).get(0xA0).value):
            if one.profile.iccid is None:
                continue
            view = profile_view(one.profile, one.iot)
            known = facts.profiles.get(view.iccid)
            if known is not None:
                view = _merged(known, view, asked, has_state=one.profile.state is not None)
            found[view.iccid] = view
            if one.profile.isdp_aid is not None:
                facts.aids[one.profile.isdp_aid] = view.iccid
        if request.find(0xA0) is None:
            facts.profiles = found
        else:
            facts.profiles |= {iccid: view for iccid, view in found.items() if iccid in facts.profiles}

    def _changed(self, request: Tlv) -> None:
        tag = es10.Tag
        iccid = self._which(request if request.tag == tag.DELETE_PROFILE else request.get(0xA0))
        if request.tag == tag.DELETE_PROFILE:
            self._delete(iccid)
        else:
            self._switch(iccid, enable=request.tag == tag.ENABLE_PROFILE)

    def _switch(self, iccid: str, *, enable: bool) -> None:
        profiles = self.facts.profiles
        if iccid not in profiles:
            profiles.clear()
            return
        for one, view in profiles.items():
            if one == iccid or enable:
                state = "enabled" if enable and one == iccid else "disabled"
                profiles[one] = view.model_copy(update={"state": state})

    def _delete(self, iccid: str) -> None:
        if self.facts.profiles.pop(iccid, None) is None:
            self.facts.profiles.clear()

    def _package(self, request: bytes, response: bytes) -> None:
        """Take in what an eIM's operations did (SGP.32 5.9.1)."""
        result = euicc_package.parse_result(response)
        if not isinstance(result, euicc_package.SignedResult):
            return  # it was refused as a whole
        operations = euicc_package.EuiccPackageRequest.parse(request).operations
        for operation, one in zip(operations, result.results, strict=False):
            if not one.done:
                continue
            match operation:
                case Enable():
                    self._switch(iccid_to_text(operation.iccid), enable=True)
                case Disable():
                    self._switch(iccid_to_text(operation.iccid), enable=False)
                case Delete():
                    self._delete(iccid_to_text(operation.iccid))
                case UnknownOperation():
                    self.facts.profiles.clear()

    def _nickname(self, request: Tlv, response: bytes) -> None:
        iccid = iccid_to_text(request.get(0x5A).value)
        known = self.facts.profiles.get(iccid)
        if known is not None and _succeeded(response):
            text = request.get(0x90).value.decode("utf-8", "replace")
            self.facts.profiles[iccid] = known.model_copy(update={"nickname": text})

    def _which(self, holder: Tlv) -> str:
        found = holder.find(0x5A)
        if found is not None:
            return iccid_to_text(found.value)
        return self.facts.aids.get(holder.get(0x4F).value, "")


_BY_DEFAULT: Final = b"\x5a\x4f\x9f\x70\x90\x91\x92\x95"
"""What GetProfilesInfo tells where it is not asked for something else (SGP.22 5.7.15)."""
_MEMBERS: Final = {"nickname": 0x90, "provider": 0x91, "name": 0x92, "profile_class": 0x95, "plmn": 0xB7, "rules": 0x99}


def _merged(known: ProfileView, view: ProfileView, asked: bytes, *, has_state: bool) -> ProfileView:
    """Return a profile as it was told just now, with what was told of it before where it was not asked for."""
    values = {name: getattr(known, name) for name, tag in _MEMBERS.items() if tag not in asked}
    if not has_state:
        values["state"] = known.state
    return view.model_copy(update=values) if values else view


def _succeeded(response: bytes) -> bool:
    """Tell whether a function's result code is ok."""
    try:
        return es10.result_code(response)[0] == 0
    except CodecError:
        return False
