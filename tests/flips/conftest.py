"""One real download between our SM-DP+ and a simulated eUICC, recorded, with a snapshot of the card before each step.

A snapshot makes a flip cheap: the card (or the server) goes back to the moment before the message came, and takes the
same message with one bit changed.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from esim_bench.codec import bpp, es10, tlv
from esim_bench.codec.apdu import Command
from esim_bench.codec.metadata import Metadata
from esim_bench.crypto.identity import EuiccIdentity
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import CodecError, RspError
from esim_bench.profile_file import read_package
from esim_bench.servers.pki import Pki, create_pki, make_eid
from esim_bench.servers.smdp import Smdp, SmdpCredentials, SqliteStore
from esim_drivers.sim.card import SimCard
from esim_drivers.sim.personality import STANDARD

ADDRESS = "testsmdpplus1.example.com"
NOW_NS = 1_750_000_000 * 10**9
EVENTS = ("install", "enable", "disable", "delete")
GOLDEN = Path(__file__).resolve().parents[1] / "golden"
# So big that the metadata take two segments.
ICON = bytes(index * 7 & 0xFF for index in range(1000))
DEVICE = es10.device_info(bytes.fromhex("35290611"))


# --------------------------------------------------------------------------------------------------------- snapshots


class Snapshot:
    """The state of everything that can change among the objects reachable from ``roots``, to go back to.

    Objects keep their identity: what they hold is put back. Objects of other libraries (keys, ciphers, certificates)
    are not looked into; those of ours that keep one use it without state.
    """

    _ATOMS = (bytes, str, int, float, bool, type(None), type, Enum, range, frozenset, sqlite3.Connection)

    def __init__(self, *roots: Any) -> None:
        self._kept: list[tuple[Any, Any, Any]] = []
        seen: dict[int, Any] = {}
        waiting = list(roots)
        while waiting:
            one = waiting.pop()
            if isinstance(one, self._ATOMS) or id(one) in seen:
                continue
            seen[id(one)] = one
            waiting += self._keep(one)

    def _keep(self, one: Any) -> list[Any]:
        """Note what an object holds; return that."""
        inside: list[Any] = []
        if isinstance(one, dict):
            held = dict(one)
            self._kept.append((one, held, _put_dict))
            inside += [*held, *held.values()]
        elif isinstance(one, list | bytearray | deque | set):
            self._kept.append((one, one.copy(), _put_sequence))
            inside += [] if isinstance(one, bytearray) else list(one)
        elif isinstance(one, tuple):
            inside += one
        elif callable(getattr(one, "__func__", None)):
            inside.append(one.__self__)
        if type(one).__module__.startswith("esim_"):
            inside += self._keep_attributes(one)
        return inside

    def _keep_attributes(self, one: Any) -> list[Any]:
        frozen = getattr(getattr(type(one), "__dataclass_params__", None), "frozen", False)
        attributes = getattr(one, "__dict__", None)
        inside: list[Any] = []
        if attributes is not None:
            if not frozen:
                self._kept.append((attributes, dict(attributes), _put_dict))
            inside += attributes.values()
        names = [name for cls in type(one).__mro__ for name in getattr(cls, "__slots__", ()) if hasattr(one, name)]
        if names:
            values = tuple(getattr(one, name) for name in names)
            if not frozen:
                self._kept.append((one, (attrgetter("__class__", *names), names, values), _put_slots))
            inside += values
        return inside

    def restore(self) -> None:
        """Go back."""
        for one, held, put in self._kept:
            put(one, held)

    def changed(self) -> list[Any]:
        """Return the objects that hold something else now."""
        return [
            one for one, held, put in self._kept if (held[0](one)[1:] != held[2] if put is _put_slots else one != held)
        ]


def _put_dict(one: dict[Any, Any], held: dict[Any, Any]) -> None:
    if one == held:
        return
    # Past what a subclass does on its own when it is changed.
    base = OrderedDict if isinstance(one, OrderedDict) else dict
    base.clear(one)
    base.update(one, held)


def _put_sequence(one: Any, held: Any) -> None:
    if one == held:
        return
    if isinstance(one, list | bytearray):
        one[:] = held
    else:
        one.clear()
        one.extend(held) if isinstance(one, deque) else one.update(held)


def _put_slots(one: Any, held: tuple[attrgetter[Any], list[str], tuple[Any, ...]]) -> None:
    get, names, values = held
    if get(one)[1:] != values:
        for name, value in zip(names, values, strict=True):
            setattr(one, name, value)


# --------------------------------------------------------------------------------------------------------- the card


class Terminal:
    """As much of a terminal as an LPA needs: STORE DATA chains on logical channel 1."""

    def __init__(self, card: SimCard) -> None:
        self.card = card
        card.power_on()
        for command in (
            Command(0x80, 0x10, 0, 0, b"\xff" * 8),
            Command(0x00, 0x70, 0, 1),
            Command(0x01, 0xA4, 4, 0, es10.ISD_R_AID, 256),
        ):
            assert self.apdu(command)[1] in (0x9000, 0x9110)

    def apdu(self, command: Command) -> tuple[bytes, int]:
        answer, _ = self.card.transmit(bytes(command))
        data, sw = answer[:-2], int.from_bytes(answer[-2:], "big")
        while sw >> 8 == 0x61:
            answer, _ = self.card.transmit(bytes(Command(command.cla & 0x0F, 0xC0, 0, 0, le=sw & 0xFF or 256)))
            data, sw = data + answer[:-2], int.from_bytes(answer[-2:], "big")
        return data, sw

    def send(self, request: bytes) -> tuple[bytes, int]:
        """Send a request as one chain; return the data and the status word of the first block that had either."""
        data, sw = b"", 0x9000
        for number, at in enumerate(range(0, len(request), 255)):
            last = at + 255 >= len(request)
            block = Command(0x81, 0xE2, 0x91 if last else 0x11, number, request[at : at + 255], 256 if last else None)
            data, sw = self.apdu(block)
            if data or sw != 0x9000:
                break
        return data, sw

    def es10(self, request: bytes) -> bytes:
        data, sw = self.send(request)
        assert sw == 0x9000, f"{sw:04X}"
        return data


@dataclass(frozen=True)
class Outcome:
    """What an eUICC made of a message, and what it left behind."""

    code: int | str
    """The error code of the function's answer, a status word as text ("6A80"), or "ok"."""
    data: bytes
    left: dict[str, bytes]
    """NVM keys that are new or have another content."""
    gone: frozenset[str]
    """NVM keys that are gone."""

    @property
    def results(self) -> list[bytes]:
        """Return the notifications that were stored."""
        return [value for key, value in self.left.items() if key.startswith("notification/")]


@dataclass
class Step:
    """A message to the card, and the card before it came."""

    request: bytes
    before: Snapshot
    contents: dict[str, bytes]
    free: int


@dataclass
class World:
    """An SM-DP+, a card with an enabled profile of its own, and a download recorded between the two."""

    smdp: Smdp
    card: SimCard
    terminal: Terminal
    pki: Pki
    address: str = ADDRESS
    matching_id: str = "FLIP"
    confirmation_code: str | None = None
    messages: dict[str, bytes] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
    server: dict[str, tuple[dict[str, bytes | str], Snapshot, bytes]] = field(default_factory=dict)
    """By function: its fields, and the server before it came (its objects, its database)."""

    @property
    def nvm(self) -> Any:
        return self.card.nvm

    # ------------------------------------------------------------------------------------------------ recording

    def ask(self, function: str, **fields: bytes | str) -> Mapping[str, bytes | str]:
        self.note(function, fields)
        return asyncio.run(self.smdp.handle(function, fields))

    def note(self, function: str, fields: dict[str, bytes | str]) -> None:
        """Note how the server is before a function is called."""
        self.server[function] = (fields, Snapshot(self.smdp), self.database())

    def tell(self, name: str, request: bytes) -> bytes:
        """Send a request to the card, after noting how the card is."""
        self.steps[name] = Step(request, Snapshot(self.card), self.nvm.contents(), self.card.free_memory)
        return self.terminal.es10(request)

    def database(self) -> bytes:
        return self.smdp.store._db.serialize()

    def download(self) -> bytes:
        """SGP.22 3.1.2 and 3.1.3, everything noted; return the ProfileInstallationResult."""
        first = self.ask(
            "initiateAuthentication",
            euiccChallenge=es10.challenge(self.terminal.es10(es10.get_euicc_challenge())),
            euiccInfo1=self.terminal.es10(es10.get_euicc_info1()),
            smdpAddress=self.address,
        )
        names = ("serverSigned1", "serverSignature1", "euiccCiPKIdToBeUsed", "serverCertificate")
        context = es10.ctx_params1(self.matching_id, DEVICE)
        answer = self.tell("AuthenticateServer", es10.authenticate_server(*(first[name] for name in names), context))
        transaction = first["transactionId"]
        second = self.ask("authenticateClient", transactionId=transaction, authenticateServerResponse=answer)
        names = ("smdpSigned2", "smdpSignature2", "smdpCertificate")
        request = es10.prepare_download(*(second[name] for name in names), self.hash_cc(transaction))
        answer = self.tell("PrepareDownload", request)
        third = self.ask("getBoundProfilePackage", transactionId=transaction, prepareDownloadResponse=answer)
        package = third["boundProfilePackage"]
        self.messages = {**first, **second, **third}
        for number, segment in enumerate(bpp.segments(package)):
            result = self.tell(f"segment {number}", segment)
            if result:
                return result
        raise AssertionError("no ProfileInstallationResult")

    def hash_cc(self, transaction: bytes) -> bytes | None:
        if self.confirmation_code is None:
            return None
        inner = hashlib.sha256(self.confirmation_code.encode()).digest()
        return hashlib.sha256(inner + transaction).digest()

    @property
    def segments(self) -> list[Step]:
        return [step for name, step in self.steps.items() if name.startswith("segment ")]

    def cancellation(self, reason: int) -> Step:
        """Return a CancelSession of the recorded session, after its PrepareDownload."""
        first = self.segments[0]
        request = es10.cancel_session(self.messages["transactionId"], reason)
        return Step(request, first.before, first.contents, first.free)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Go on with another session, and find the recorded one as it was."""
        kept = self.messages, self.steps, self.server
        self.messages, self.steps, self.server = {}, {}, {}
        try:
            yield
        finally:
            self.messages, self.steps, self.server = kept

    def succeeds(self) -> bool:
        """Download once more, all over; tell whether the profile is there afterwards, beside the one enabled."""
        done = error_in(self.download()) == "ok"
        states = [profile.enabled for profile in es10.profile_infos(self.terminal.es10(es10.get_profiles_info()))]
        return done and sorted(states) == [False, True]

    def deliver(self, notification: bytes) -> Any:
        """Deliver a notification; return what the SM-DP+ keeps of it."""
        asyncio.run(self.smdp.handle("handleNotification", {"pendingNotification": notification}))
        return self.smdp.store.notifications()[-1]

    def server_back_to(self, function: str) -> tuple[dict[str, bytes | str], Snapshot]:
        """Take the server back to before a function was called; return its fields, and how the server is then."""
        fields, before, database = self.server[function]
        self.smdp.store._db.deserialize(database)
        before.restore()
        return fields, before

    def handle(self, function: str, fields: Mapping[str, bytes | str]) -> str:
        """Call the server; return "subject/reason", "malformed" (HTTP 400, or ASN.1 error 127) or "taken"."""
        try:
            asking = self.smdp.handle(function, fields)
            with pytest.raises(StopIteration):
                asking.send(None)
        except CodecError:
            return "malformed"
        except RspError as exc:
            return f"{exc.subject}/{exc.reason}"
        return "taken"

    # ------------------------------------------------------------------------------------------------ replaying

    def replay(self, step: Step, request: bytes) -> Outcome:
        """Go back to before a step and send another request; tell what came of it."""
        step.before.restore()
        return self.more(step, request)

    def more(self, step: Step, *requests: bytes) -> Outcome:
        """Send requests until one is answered; tell what came of it since before the step."""
        data, sw = b"", 0x9000
        for request in requests:
            data, sw = self.terminal.send(request)
            if data or sw != 0x9000:
                break
        code = f"{sw:04X}" if sw != 0x9000 else error_in(data, step.request)
        before, after = step.contents, self.nvm._committed
        if before == after:
            return Outcome(code, data, {}, frozenset())
        left = {key: value for key, value in after.items() if before.get(key) != value}
        return Outcome(code, data, left, frozenset(before.keys() - after.keys()))


def error_in(data: bytes, request: bytes = b"") -> int | str:
    """Return the error of a function's answer, or "ok"; "none" without an answer.

    Of a ProfileInstallationResult "command/reason"; of an answer to another function than the request's its tag.
    """
    if not data:
        return "none"
    answer = tlv.parse(data)
    if answer.tag == 0xBF37:
        final = answer.get(0xBF27, 0xA2).children()[0]
        if final.tag == 0xA0:
            return "ok"
        return "/".join(str(int.from_bytes(final.get(tag).value, "big")) for tag in (0x80, 0x81))
    if request and answer.tag != tlv.parse_header(request)[0]:
        return f"{answer.tag:X}"
    (choice,) = answer.children()
    if choice.tag == 0xA0:
        return "ok"
    number = choice if choice.tag == 0x81 else choice.get(0x02)
    return int.from_bytes(number.value, "big")


# --------------------------------------------------------------------------------------------------------- flips


def flip(data: bytes, position: int, bit: int | None = None) -> bytes:
    """Change one bit of the byte at a position; which one depends on the position."""
    mask = 1 << ((position * 5 + 3) % 8 if bit is None else bit)
    return data[:position] + bytes((data[position] ^ mask,)) + data[position + 1 :]


Layout: TypeAlias = "str | tuple[str, Sequence[Layout]]"
"""The name of an object, or its name and the layouts of its members."""


@dataclass(frozen=True)
class Area:
    """The tag, the length or the value of one object in a message."""

    name: str
    part: str
    start: int
    end: int


def areas(data: bytes, layout: Sequence[Layout], offset: int = 0) -> Iterator[Area]:
    """Cut a message into areas that cover each byte once; a value is cut further where the layout names its members."""
    items = tlv.parse_all(data)
    for item, member in zip(items, layout, strict=True):
        name, inside = (member, ()) if isinstance(member, str) else member
        start = offset + item.offset
        length, value, end = (
            start + size for size in (len(tlv.tag_bytes(item.tag)), item.header_length, len(item.raw))
        )
        yield Area(name, "tag", start, length)
        yield Area(name, "length", length, value)
        if inside:
            yield from areas(item.value, inside, value)
        elif value < end:
            yield Area(name, "value", value, end)


Codes: TypeAlias = "int | str | set[int | str]"
Rules: TypeAlias = "Mapping[str, tuple[Codes, Codes, Codes]]"
"""By name of an object: what answers a change of its tag, of its length, of its value."""


def expected(rules: Rules, area: Area) -> set[int | str]:
    codes = rules[area.name][("tag", "length", "value").index(area.part)]
    return codes if isinstance(codes, set) else {codes}


# --------------------------------------------------------------------------------------------------------- fixtures


@dataclass(frozen=True)
class Tools:
    """The above for tests."""

    Snapshot: type[Snapshot] = Snapshot
    flip: Callable[..., bytes] = flip
    areas: Callable[..., Iterator[Area]] = areas
    expected: Callable[[Rules, Area], set[int | str]] = expected


@pytest.fixture(scope="session")
def tools() -> Tools:
    return Tools()


@pytest.fixture(scope="session")
def pki() -> Pki:
    return create_pki(SeededRandomness("flips"), hosts=[ADDRESS], now_ns=NOW_NS)


@pytest.fixture(scope="session")
def identity(pki: Pki) -> EuiccIdentity:
    return pki.issue_euicc(make_eid(1), SeededRandomness("euicc"))


def metadata_of(upp: bytes, icon: bytes) -> bytes:
    iccid = es10.swap_nibbles(tlv.parse_prefix(upp).get(0x83).value)
    return Metadata(iccid, "Operator", "Flips", notifications=[(EVENTS, ADDRESS)], icon_type=1, icon=icon).encode()


def build_world(
    pki: Pki,
    identity: EuiccIdentity,
    upp: bytes | None = None,
    *,
    confirmation_code: str | None = None,
    icon: bytes = ICON,
    **options: Any,
) -> World:
    """Make a card that has one profile enabled, and an SM-DP+ that has another one for it."""
    smdp = Smdp(
        SmdpCredentials.from_pki(pki),
        SqliteStore(":memory:"),
        SeededRandomness("smdp"),
        [ADDRESS],
        lambda: NOW_NS,
        **options,
    )
    card = SimCard(identity, STANDARD, SeededRandomness("card"))
    world = World(smdp, card, Terminal(card), pki, matching_id="OWN")
    own = read_package(GOLDEN / "operational-b.der").raw
    smdp.release(own, metadata_of(own, icon), "OWN", test_order=True)
    world.download()
    iccid = es10.swap_nibbles(tlv.parse_prefix(own).get(0x83).value)
    assert es10.result_code(world.terminal.es10(es10.enable_profile(iccid, refresh=False)))[0] == 0
    for key in card.nvm.keys("notification/"):
        card.nvm.delete(key)
    upp = upp or read_package(GOLDEN / "operational-a.der").raw
    smdp.release(upp, metadata_of(upp, icon), "FLIP", test_order=True, confirmation_code=confirmation_code)
    world.matching_id, world.confirmation_code = "FLIP", confirmation_code
    world.steps.clear()
    return world


@pytest.fixture(scope="session")
def make_world(pki: Pki, identity: EuiccIdentity) -> Callable[..., World]:
    """Make worlds: ``make_world(package, confirmation_code=..., random_keys=...)``."""

    def make(upp: bytes | None = None, **options: Any) -> World:
        return build_world(pki, identity, upp, **options)

    return make
