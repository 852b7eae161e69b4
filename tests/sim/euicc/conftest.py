"""An eUICC without a UICC around it, an LPA of three lines, and the server side made by hand from codec and crypto."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from esim_bench.codec.apdu import Command
from esim_bench.codec.tlv import Tlv, encode, parse
from esim_bench.crypto import ecdsa, keys
from esim_bench.crypto.agreement import shared_secret
from esim_bench.crypto.bsp import Bsp, SessionKeys, session_keys, split_plain
from esim_bench.crypto.identity import EuiccIdentity
from esim_bench.crypto.keys import Curve
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.ports import FormFactor
from esim_bench.servers.pki import Pki, create_pki, make_eid
from esim_drivers.sim import bpp_loader, registry
from esim_drivers.sim.installer import PeError
from esim_drivers.sim.isdr import Isdr
from esim_drivers.sim.nvm import Nvm
from esim_drivers.sim.personality import STANDARD, Personality

NOW_NS = 1_750_000_000 * 10**9
ADDRESS = "testsmdpplus1.example.com"
TRANSACTION = bytes(range(16))
CONTEXT = encode(0xA0, encode(0x80, b"TEST-1"), encode(0xA1, bytes.fromhex("800435290611A100")))
"""ctxParams1: matchingId and DeviceInfo with TAC and no capabilities."""


@dataclass
class FakeUicc:
    """The CardServices of a UICC that has no files; it remembers what the ISD-R asked for."""

    nvm: Nvm = field(default_factory=Nvm)
    terminal_profile_seen: bool = True
    cat_busy: bool = False
    terminal_capability: bytes | None = None
    refreshes: list[int] = field(default_factory=list)
    mounted: list[bytes | None] = field(default_factory=list)
    memory: int = 512 * 1024

    def queue_refresh(self, mode: int) -> None:
        self.refreshes.append(mode)

    def mount(self, isdp_aid: bytes | None) -> None:
        self.mounted.append(isdp_aid)

    @property
    def free_memory(self) -> int:
        return self.memory - self.nvm.used


class FakeInstaller:
    """Writes each element under a key of its own; an element A9 is refused with the PEStatus that it carries."""

    def __init__(self, nvm: Nvm, isdp_aid: bytes, personality: Personality) -> None:
        self._nvm = nvm
        self._root = f"isdp/{isdp_aid.hex().upper()}/"
        self._count = 0
        self.skipped: list[tuple[int, int | None]] = []

    def element(self, pe: bytes) -> None:
        tlv = parse(pe)
        if tlv.tag == 0xA9:
            raise PeError(tlv.value[0], tlv.value[1], offset=12, info=None)
        self._nvm.put(f"{self._root}{self._count:03d}", pe)
        self._count += 1

    def finish(self) -> None:
        self._nvm.put(f"{self._root}finished", b"")


def fake_remove_profile(nvm: Nvm, isdp_aid: bytes) -> None:
    for key in nvm.keys(f"isdp/{isdp_aid.hex().upper()}/"):
        nvm.delete(key)


class Card:
    """The ISD-R and its UICC, driven as an LPA drives them."""

    def __init__(
        self,
        identity: EuiccIdentity,
        *,
        nvm: Nvm | None = None,
        personality: Personality = STANDARD,
        form_factor: FormFactor = FormFactor.FF4,
        seed: str = "card",
    ) -> None:
        self.uicc = FakeUicc(nvm if nvm is not None else Nvm())
        self.isdr = Isdr(self.uicc, identity, personality, SeededRandomness(seed), form_factor)
        self.identity = identity
        self.isdr.reset()

    @property
    def nvm(self) -> Nvm:
        return self.uicc.nvm

    def power_cycle(self) -> None:
        self.nvm.power_off()
        self.reset()

    def reset(self) -> None:
        self.nvm.power_on()
        self.uicc.refreshes.clear()
        self.uicc.cat_busy = False
        self.isdr.reset()

    def chain(self, data: bytes, *, channel: int = 1, size: int = 255) -> tuple[bytes, int]:
        """Send data as one STORE DATA chain; return the last answer's data and status word."""
        blocks = [data[start : start + size] for start in range(0, len(data), size)]
        reply = None
        for number, block in enumerate(blocks):
            p1 = 0x91 if number == len(blocks) - 1 else 0x11
            reply = self.isdr.process(Command(0x80, 0xE2, p1, number, block), channel)
            if reply.sw != 0x9000:
                break
        assert reply is not None
        return reply.data, reply.sw

    def es10(self, request: bytes | str) -> Tlv:
        data, sw = self.chain(bytes.fromhex(request) if isinstance(request, str) else request)
        assert sw == 0x9000, f"{sw:04X}"
        return parse(data)

    def result(self, request: bytes | str) -> int:
        """Return the result code of a function that answers with one INTEGER 80 or 81."""
        return int.from_bytes(self.es10(request).children()[0].value, "big")

    def notifications(self) -> list[Tlv]:
        return self.es10("BF2B00").get(0xA0).children()

    def profiles(self) -> list[Tlv]:
        return self.es10("BF2D00").get(0xA0).children()

    def state(self, iccid: bytes) -> int | None:
        found = [one for one in self.profiles() if one.get(0x5A).value == iccid]
        return found[0].get(0x9F70).value[0] if found else None


@dataclass
class Server:
    """An SM-DP+ by hand. Each part can be falsified by the test before the next one is asked for."""

    pki: Pki
    transaction: bytes = TRANSACTION
    address: str = ADDRESS
    host_id: bytes = b"testsmdpplus1"
    seed: str = "server"

    @property
    def oid_tlv(self) -> bytes:
        return bytes.fromhex("060388370A")  # 2.999.10

    def sign(self, key: Any, data: bytes) -> bytes:
        return encode(0x5F37, ecdsa.sign(key, data, deterministic=True))

    def authenticate_server(
        self,
        challenge: bytes,
        *,
        certificate: bytes | None = None,
        ci_key_id: bytes | None = None,
        signature: bytes | None = None,
        context: bytes = CONTEXT,
    ) -> bytes:
        signed = encode(
            0x30,
            encode(0x80, self.transaction),
            encode(0x81, challenge),
            encode(0x83, self.address.encode()),
            encode(0x84, bytes(range(0x40, 0x50))),
        )
        return encode(
            0xBF38,
            signed,
            signature or self.sign(self.pki.smdp_auth.key, signed),
            encode(0x04, ci_key_id or self.pki.ci_key.key_id),
            certificate or self.pki.smdp_auth.certificate,
            context,
        )

    def prepare_download(
        self,
        signature1: bytes,
        *,
        certificate: bytes | None = None,
        bound_key: bytes = b"",
        hash_cc: bytes = b"",
        code_required: bool = False,
        signature: bytes | None = None,
    ) -> bytes:
        signed = encode(
            0x30, encode(0x80, self.transaction), encode(0x01, b"\xff" if code_required else b"\x00"), bound_key
        )
        return encode(
            0xBF21,
            signed,
            signature or self.sign(self.pki.smdp_pb.key, signed + signature1),
            hash_cc,
            certificate or self.pki.smdp_pb.certificate,
        )

    def initialise(self, euicc_otpk: bytes, **changed: bytes) -> bytes:
        """InitialiseSecureChannel (BF23) for the eUICC's one-time key (the TLV 5F49)."""
        key = keys.generate(self.pki.curve, SeededRandomness(self.seed))
        parts = {
            "operation": bytes.fromhex("820101"),
            "transaction": encode(0x80, self.transaction),
            "template": encode(0xA6, bytes.fromhex("800188810110"), encode(0x84, self.host_id)),
            "otpk": encode(0x5F49, keys.point(key)),
        } | changed
        signed = b"".join(parts.values())
        signature = parts.pop("signature", None) or self.sign(self.pki.smdp_pb.key, signed + euicc_otpk)
        return encode(0xBF23, signed, signature)

    def bsp(self, euicc_otpk: bytes, eid: bytes) -> Bsp:
        key = keys.generate(self.pki.curve, SeededRandomness(self.seed))
        public = keys.from_point(self.pki.curve, parse(euicc_otpk).value)
        return Bsp(session_keys(shared_secret(key, public), self.host_id, eid))

    def segments(
        self,
        euicc_otpk: bytes,
        eid: bytes,
        package: bytes,
        metadata: bytes,
        *,
        initialise: bytes | None = None,
        configure: bytes = bytes.fromhex("BF2400"),
        replace: SessionKeys | None = None,
        size: int = 1007,
        metadata_size: int = 1008,
        change: Callable[[int, bytes], bytes] = lambda number, tlv: tlv,
    ) -> list[bytes]:
        """A whole BPP as its STORE DATA chains; ``change(number, tlv)`` may falsify protected TLVs, from 1."""
        bsp = self.bsp(euicc_otpk, eid)
        count = 0

        def protect(tag: int, plain: bytes) -> bytes:
            nonlocal count
            count += 1
            return change(count, bsp.protect(tag, plain))

        first = initialise or self.initialise(euicc_otpk)
        a0 = [protect(0x87, configure)]
        a1 = [protect(0x88, part) for part in split_plain(metadata, metadata_size)]
        a2: list[bytes] = []
        if replace is not None:
            values = zip((0x80, 0x81, 0x82), (replace.mcv, replace.enc, replace.mac), strict=True)
            a2 = [protect(0x87, encode(0xBF26, *(encode(tag, value) for tag, value in values)))]
            bsp.replace_keys(replace)
        a3 = [protect(0x86, part) for part in split_plain(package, size)]
        groups = [(0xA0, a0), (0xA1, a1), *([(0xA2, a2)] if a2 else []), (0xA3, a3)]
        whole = encode(0xBF36, first, *(encode(tag, *members) for tag, members in groups))
        out = [whole[: len(whole) - sum(len(encode(tag, *members)) for tag, members in groups)]]
        for tag, members in groups:
            header = encode(tag, *members)[: -sum(map(len, members))]
            out += [header + members[0], *members[1:]] if tag in (0xA0, 0xA2) else [header, *members]
        return out


class Lpa:
    """A download in one line, or in three with a look between."""

    def __init__(self, card: Card, server: Server) -> None:
        self.card = card
        self.server = server

    def authenticate(self, **changes: Any) -> Tlv:
        challenge = self.card.es10("BF2E00").get(0x80).value
        return self.card.es10(self.server.authenticate_server(challenge, **changes))

    def prepare(self, **changes: Any) -> Tlv:
        signature1 = self.authenticate().get(0xA0, 0x5F37).raw
        return self.card.es10(self.server.prepare_download(signature1, **changes))

    def bpp(self, package: bytes, metadata: bytes, **changes: Any) -> list[bytes]:
        """Prepare the download and return the segments of the BPP."""
        otpk = self.prepare().get(0xA0, 0x30, 0x5F49).raw
        return self.server.segments(otpk, self.card.identity.eid, package, metadata, **changes)

    def load(self, segments: Sequence[bytes], **how: int) -> Tlv:
        """Send segments until the first answer with data: the ProfileInstallationResult."""
        for segment in segments:
            data, sw = self.card.chain(segment, **how)
            assert sw == 0x9000, f"{sw:04X}"
            if data:
                return parse(data)
        raise AssertionError("no ProfileInstallationResult after the last segment")

    def download(self, package: bytes, metadata: bytes, **changes: Any) -> Tlv:
        return self.load(self.bpp(package, metadata, **changes))


def iccid(number: int) -> bytes:
    """A 20-digit ICCID as in EF.ICCID: nibbles swapped."""
    digits = f"8900012345678901{number:04d}"
    return bytes(int(digits[at + 1] + digits[at], 16) for at in range(0, 20, 2))


def make_metadata(number: int, *, more: bytes = b"", events: bytes = bytes.fromhex("800204F0")) -> bytes:
    notify = encode(0xB6, encode(0x30, events, encode(0x81, b"notify.example.com"))) if events else b""
    return encode(
        0xBF25, encode(0x5A, iccid(number)), encode(0x91, b"Operator"), encode(0x92, b"Name %d" % number), notify, more
    )


def make_package(number: int, *, elements: int = 3, size: int = 700, extra: bytes = b"") -> bytes:
    printed = bytes((byte & 0x0F) << 4 | byte >> 4 for byte in iccid(number))
    header = encode(0xA0, bytes.fromhex("800102810103"), encode(0x83, printed))
    body = b"".join(encode(0xB0 + index % 4, bytes((index,)) * size) for index in range(elements))
    return header + body + extra + bytes.fromhex("AA07A005800081011D")


@pytest.fixture(scope="session")
def make_pki() -> Callable[..., Pki]:
    made: dict[tuple[str, Curve], Pki] = {}

    def make(name: str = "pki", curve: Curve = Curve.P256) -> Pki:
        if (name, curve) not in made:
            made[name, curve] = create_pki(SeededRandomness(name), curve=curve, now_ns=NOW_NS)
        return made[name, curve]

    return make


@pytest.fixture(scope="session")
def pki(make_pki: Callable[..., Pki]) -> Pki:
    return make_pki()


@pytest.fixture(scope="session")
def identity(pki: Pki) -> EuiccIdentity:
    return pki.issue_euicc(make_eid(1), SeededRandomness("euicc"))


@pytest.fixture
def simple_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elements are only counted, not understood: these tests are about everything around them."""
    monkeypatch.setattr(bpp_loader, "ProfileInstaller", FakeInstaller)
    monkeypatch.setattr(registry, "remove_profile", fake_remove_profile)


@dataclass(frozen=True)
class Kit:
    """All of the above for one test."""

    pki: Pki
    identity: EuiccIdentity
    Card: type[Card] = Card
    Lpa: type[Lpa] = Lpa
    Server: type[Server] = Server
    Installer: type[FakeInstaller] = FakeInstaller
    iccid: Callable[[int], bytes] = iccid
    metadata: Callable[..., bytes] = make_metadata
    package: Callable[..., bytes] = make_package

    def card(self, **options: Any) -> Card:
        return Card(options.pop("identity", self.identity), **options)

    def lpa(self, card: Card | None = None, **options: Any) -> Lpa:
        server = Server(options.pop("pki", self.pki), **options)
        return Lpa(card or self.card(), server)

    def with_profiles(self, *numbers: int, **options: Any) -> Card:
        """A card on which these profiles were downloaded, without pending notifications."""
        card = self.card(**options)
        for number in numbers:
            result = self.lpa(card).download(make_package(number), make_metadata(number))
            assert result.find(0xBF27, 0xA2, 0xA0) is not None
        for key in card.nvm.keys("notification/"):
            card.nvm.delete(key)
        return card


@pytest.fixture
def kit(pki: Pki, identity: EuiccIdentity, simple_profiles: None) -> Kit:
    return Kit(pki, identity)


@pytest.fixture
def card(kit: Kit) -> Card:
    return kit.card()


@pytest.fixture
def lpa(kit: Kit, card: Card) -> Lpa:
    return kit.lpa(card)


@pytest.fixture(scope="session")
def card_of() -> type[Card]:
    """Make a card inside a property, where function-scoped fixtures must not stand."""
    return Card


@pytest.fixture(scope="session")
def kit_of(pki: Pki, identity: EuiccIdentity) -> Kit:
    """The kit for properties; whoever loads packages sees to a simple installer."""
    return Kit(pki, identity)
