"""Whole IoT eUICCs spoken to in APDUs, an eIM of a few lines for their packages, an SM-DP+ of a few more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from esim_bench.codec import bpp, es10, es10_iot, es10_iot_answers, euicc_package
from esim_bench.codec.apdu import Command
from esim_bench.codec.eim_configuration import EimConfigurationData, KeyData
from esim_bench.codec.es10 import ISD_R_AID
from esim_bench.codec.euicc_operations import Operation, SetFallbackAttribute
from esim_bench.codec.euicc_package import SignedError, SignedResult
from esim_bench.codec.metadata import Metadata
from esim_bench.codec.saip import encode_element
from esim_bench.codec.sgp32 import Version
from esim_bench.codec.tlv import Tlv, encode, parse
from esim_bench.crypto import ecdsa, keys
from esim_bench.crypto.identity import EuiccIdentity
from esim_bench.crypto.keys import Curve
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.ports import PreloadedProfile
from esim_bench.servers.pki import Pki, create_pki, make_eid
from esim_bench.servers.smdp.binding import Binding, bind
from esim_drivers.sim.card import SimCard
from esim_drivers.sim.iot.standards import Standards
from esim_drivers.sim.nvm import Nvm
from esim_drivers.sim.personality import STANDARD, Personality

NOW_NS = 1_750_000_000 * 10**9
EIM_ID = "testeim1.example.com"
ADDRESS = "testsmdpplus1.example.com"
SMDP_OID = "2.999.10"
KEY = keys.generate(Curve.P256, SeededRandomness("eIM"))
IOT = Standards(consumer=False, iot=Version.V1_2)
IOT_1_0_1 = Standards(consumer=False, iot=Version.V1_0_1)
DUAL = Standards(consumer=True, iot=Version.V1_2)
DUAL_1_0_1 = Standards(consumer=True, iot=Version.V1_0_1)
CONSUMER = Standards()
EVENTS = ("install", "enable", "disable", "delete")
PROACTIVE = bytes.fromhex("80120000")


def iccid(number: int) -> bytes:
    """A 20-digit ICCID as in EF.ICCID: nibbles swapped."""
    digits = f"8900012345678902{number:04d}"
    return bytes(int(digits[at + 1] + digits[at], 16) for at in range(0, 20, 2))


def package(number: int) -> bytes:
    """A profile package of a header, an MF and an end."""
    own = iccid(number)
    header = {
        "major-version": 2,
        "minor-version": 3,
        "iccid": bytes((byte & 0x0F) << 4 | byte >> 4 for byte in own),
        "eUICC-Mandatory-services": {},
        "eUICC-Mandatory-GFSTEList": ["2.23.143.1.2.1"],
    }
    everybody = {"securityAttributesReferenced": b"\x2f\x06\x01"}
    record = {"fileDescriptor": b"\x42\x21\x00\x05", "efFileSize": b"\x05"}
    mf = {
        "mf-header": {"mandated": None, "identification": 1},
        "templateID": "2.23.143.1.2.1",
        "mf": [("fileDescriptor", {"pinStatusTemplateDO": b"\x01\x0a"})],
        "ef-iccid": [("fileDescriptor", everybody), ("fillFileContent", own)],
        "ef-dir": [("fileDescriptor", {"fileDescriptor": b"\x42\x21\x00\x10", "efFileSize": b"\x10"})],
        "ef-arr": [("fileDescriptor", record | everybody), ("fillFileContent", bytes.fromhex("8001019000"))],
    }
    end = {"end-header": {"mandated": None, "identification": 2}}
    return b"".join(encode_element(*one) for one in (("header", header), ("mf", mf), ("end", end)))


def metadata(number: int, **members: Any) -> bytes:
    """The metadata of a profile whose operator wants to hear of everything."""
    about = {"notifications": ((EVENTS, "notify.example.com"),)} | members
    return Metadata(iccid(number), "Operator", f"Name {number}", **about).encode()


class Card:
    """A SimCard after the start-up of its terminal, with the ISD-R selected on channel 1."""

    def __init__(
        self,
        identity: EuiccIdentity,
        nvm: Nvm | None = None,
        personality: Personality = STANDARD,
        standards: Standards = IOT,
        preload: Sequence[PreloadedProfile] = (),
        capability: bytes | None = bytes.fromhex("A903840101"),
    ) -> None:
        self.card = SimCard(
            identity, personality, SeededRandomness("card"), preload=preload, nvm=nvm, standards=standards
        )
        self.identity = identity
        self.version = standards.iot or Version.V1_2
        self.capability = capability
        self.proactive = 0
        self.fci = b""
        self.reset()

    @property
    def nvm(self) -> Nvm:
        return self.card.nvm

    def reset(self) -> None:
        """A cold reset, and what a terminal does first."""
        self.card.power_on()
        self.proactive = 0
        if self.capability is not None:
            assert self.apdu(Command(0x80, 0xAA, 0, 0, self.capability))[1] == 0x9000
        assert self.apdu(Command(0x80, 0x10, 0, 0, b"\xff" * 8))[1] == 0x9000
        assert self.apdu(Command(0x00, 0x70, 0, 0, le=1)) == (b"\x01", 0x9000)
        self.fci, sw = self.apdu(Command(0x01, 0xA4, 4, 0, ISD_R_AID, 256))
        assert sw == 0x9000

    def apdu(self, command: Command) -> tuple[bytes, int]:
        answer, _ = self.card.transmit(bytes(command))
        data, sw = answer[:-2], int.from_bytes(answer[-2:], "big")
        while sw >> 8 == 0x61:
            answer, _ = self.card.transmit(bytes(Command(command.cla & 0x0F, 0xC0, 0, 0, le=sw & 0xFF or 256)))
            data, sw = data + answer[:-2], int.from_bytes(answer[-2:], "big")
        if sw >> 8 == 0x91:
            self.proactive, sw = sw & 0xFF, 0x9000
        return data, sw

    def chain(self, request: bytes) -> tuple[bytes, int]:
        """Send a request as one STORE DATA chain."""
        blocks = [request[at : at + 255] for at in range(0, len(request), 255)]
        data, sw = b"", 0
        for number, block in enumerate(blocks):
            last = number == len(blocks) - 1
            data, sw = self.apdu(Command(0x81, 0xE2, 0x91 if last else 0x11, number, block, 256 if last else None))
            if sw != 0x9000:
                break
        return data, sw

    def sw(self, request: bytes | str) -> int:
        return self.chain(bytes.fromhex(request) if isinstance(request, str) else request)[1]

    def es10(self, request: bytes | str) -> Tlv:
        data, sw = self.chain(bytes.fromhex(request) if isinstance(request, str) else request)
        assert sw == 0x9000, f"{sw:04X}"
        return parse(data)

    def code(self, request: bytes | str) -> int:
        """The code of a function that answers with one."""
        return self.es10(request).children()[0].integer()

    def refresh(self) -> bytes:
        """FETCH the REFRESH that is announced, answer it, and reset: the switch is seen."""
        command, sw = self.apdu(Command(0x80, 0x12, 0, 0, le=self.proactive))
        assert sw == 0x9000
        done = bytes.fromhex("810301") + bytes.fromhex("0104") + bytes.fromhex("82028281830100")
        self.apdu(Command(0x80, 0x14, 0, 0, done))
        self.reset()
        return command

    # ------------------------------------------------------------------------------------------------ what is seen

    def profiles(self) -> dict[bytes, int]:
        """ICCID to state."""
        found = self.es10("BF2D00").get(0xA0).children()
        return {one.get(0x5A).value: one.get(0x9F70).integer() for one in found}

    @property
    def enabled(self) -> int | None:
        """The number of the enabled profile."""
        found = self.card.isdr.registry.enabled()
        numbers = {iccid(number): number for number in range(10)}
        return numbers[found.metadata.iccid] if found is not None else None

    def shown(self) -> bytes:
        """EF.ICCID as the basic channel reads it."""
        if self.apdu(Command(0x00, 0xA4, 0, 0x0C, bytes.fromhex("3F00")))[1] != 0x9000:
            return b""
        if self.apdu(Command(0x00, 0xA4, 0, 0x0C, bytes.fromhex("2FE2")))[1] != 0x9000:
            return b""
        return self.apdu(Command(0x00, 0xB0, 0, 0, le=10))[0]

    def events(self) -> list[tuple[str, int]]:
        """The waiting notifications: what happened to which profile."""
        raw = es10_iot_answers.retrieved(self.es10("BF2B00").raw).notifications
        found = [parse(one) for one in raw]
        about = [one.get(0xBF27, 0xBF2F) if one.tag == 0xBF37 else one.get(0xBF2F) for one in found]
        names = {0x80: "install", 0x40: "enable", 0x20: "disable", 0x10: "delete"}
        numbers = {iccid(number): number for number in range(10)}
        return [(names[one.get(0x81).value[1]], numbers[one.get(0x5A).value]) for one in about]

    def forget_events(self) -> None:
        for key in self.nvm.keys("notification/"):
            self.nvm.delete(key)

    def results(self) -> list[SignedResult]:
        """The package results that wait."""
        raw = es10_iot_answers.retrieved(self.es10("BF2B04A0028200").raw).package_results
        return [one for one in map(euicc_package.parse_result, raw) if isinstance(one, SignedResult)]

    def busy(self) -> None:
        """Have a REFRESH wait that nobody fetches."""
        self.card.queue_refresh(4)

    def violations(self) -> list[str]:
        iot = self.card.isdr.iot
        assert iot is not None
        return [*self.card.isdr.registry.violations(), *iot.violations()]


@dataclass
class Eim:
    """An eIM that is associated with a card, and loads its packages at once."""

    card: Card
    counter: int = 0
    token: int | None = None

    def associate(self) -> Eim:
        spki = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        own = EimConfigurationData(EIM_ID, EIM_ID, 2, counter=0, association_token=-1, public_key=KeyData(spki))
        answer = self.card.es10(es10_iot.add_initial_eim([own], self.card.version)).raw
        (self.token,) = es10_iot_answers.added_eims_of(answer)
        return self

    def package(self, *operations: Operation) -> bytes:
        self.counter += 1
        eid = self.card.identity.eid
        signed = euicc_package.package_signed(EIM_ID, eid, self.counter, operations, None, self.card.version)
        signature = ecdsa.sign(KEY, euicc_package.to_be_signed(signed, self.token), deterministic=True)
        return euicc_package.package_request(signed, signature)

    def load(self, *operations: Operation) -> Any:
        """Have operations executed; return the code of each, or the number of a signed error."""
        answer = euicc_package.parse_result(self.card.es10(self.package(*operations)).raw)
        if isinstance(answer, SignedError):
            return answer.code
        assert isinstance(answer, SignedResult)
        return [one.code for one in answer.results]


@dataclass
class SmallSmdp:
    """An SM-DP+ that has a profile for whoever asks."""

    pki: Pki
    count: int = field(default=0)

    def download(self, card: Card, number: int, **members: Any) -> Tlv:
        """Install a profile; return the ProfileInstallationResult."""
        self.count += 1
        transaction = bytes((self.count,)) * 16
        pki = self.pki
        challenge = card.es10(es10.get_euicc_challenge()).get(0x80).value
        signed1 = encode(
            0x30,
            encode(0x80, transaction),
            encode(0x81, challenge),
            encode(0x83, ADDRESS.encode()),
            encode(0x84, bytes(16)),
        )
        context = encode(0xA0, encode(0x80, b"TEST"), encode(0xA1, bytes.fromhex("800435290611A100")))
        certificate = pki.smdp_auth.certificate
        ci = encode(0x04, pki.ci_key.key_id)
        request = es10.authenticate_server(signed1, _sign(pki.smdp_auth.key, signed1), ci, certificate, context)
        signature1 = card.es10(request).get(0xA0, 0x5F37).raw
        signed2 = encode(0x30, encode(0x80, transaction), encode(0x01, b"\x00"))
        signature2 = _sign(pki.smdp_pb.key, signed2 + signature1)
        prepared = card.es10(es10.prepare_download(signed2, signature2, pki.smdp_pb.certificate))
        point = prepared.get(0xA0, 0x30, 0x5F49).value
        one_time = keys.generate(pki.curve, SeededRandomness(f"otsk {self.count}"))
        binding = Binding(
            package(number),
            metadata(number, **members),
            transaction,
            b"host",
            card.identity.eid,
            keys.from_point(pki.curve, point),
            one_time,
        )
        bound = bind(binding, lambda data: ecdsa.sign(pki.smdp_pb.key, data, deterministic=True))
        for segment in bpp.segments(bound):
            data, sw = card.chain(segment)
            assert sw == 0x9000, f"{sw:04X}"
            if data:
                result = parse(data)
                assert result.find(0xBF27, 0xA2, 0xA0) is not None, data.hex()
                return result
        raise AssertionError("no ProfileInstallationResult")


def _sign(key: Any, data: bytes) -> bytes:
    return encode(0x5F37, ecdsa.sign(key, data, deterministic=True))


@dataclass(repr=False)
class Kit:
    """Cards from snapshots: profile 1 is enabled, 2 may become the Fallback Profile, 3 is one for emergencies."""

    pki: Pki
    identity: EuiccIdentity
    snapshots: dict[Any, bytes] = field(default_factory=dict)
    IOT: Standards = IOT
    IOT_1_0_1: Standards = IOT_1_0_1
    DUAL: Standards = DUAL
    DUAL_1_0_1: Standards = DUAL_1_0_1
    CONSUMER: Standards = CONSUMER
    PROFILES: tuple[tuple[int, dict[str, Any]], ...] = (
        (1, {}),
        (2, {"fallback_allowed": True}),
        (3, {"ecall": True}),
        (4, {}),
    )

    def card(
        self,
        *profiles: tuple[int, dict[str, Any]],
        enabled: int | None = 1,
        personality: Personality = STANDARD,
        **options: Any,
    ) -> Card:
        wanted = profiles or self.PROFILES
        key = repr((wanted, enabled))
        if key not in self.snapshots:
            preload = [PreloadedProfile(metadata(n, **more), package(n), n == enabled) for n, more in wanted]
            self.snapshots[key] = Card(self.identity, preload=preload).nvm.snapshot()
        return Card(self.identity, Nvm.restore(self.snapshots[key]), personality, **options)

    def with_eim(self, *profiles: tuple[int, dict[str, Any]], **options: Any) -> tuple[Card, Eim]:
        card = self.card(*profiles, **options)
        return card, Eim(card).associate()

    def again(self, snapshot: bytes, **options: Any) -> Card:
        """A card with a memory that was kept."""
        return Card(self.identity, Nvm.restore(snapshot), **options)

    def smdp(self) -> SmallSmdp:
        return SmallSmdp(self.pki)

    def fallback(self, **options: Any) -> tuple[Card, Eim]:
        """A card whose profile 2 is the Fallback Profile."""
        card, eim = self.with_eim(**options)
        assert eim.load(SetFallbackAttribute(iccid(2))) == [0]
        return card, eim

    def without(self, *names: str) -> Personality:
        """The standard make, which does not support these."""
        return self.personality(**{f"{name}_supported": False for name in names})

    @staticmethod
    def personality(**changes: Any) -> Personality:
        return replace(STANDARD, **changes)

    @staticmethod
    def iccid(number: int) -> bytes:
        return iccid(number)


@pytest.fixture(scope="session")
def switching_pki() -> Pki:
    return create_pki(SeededRandomness("pki"), curve=Curve.P256, now_ns=NOW_NS)


@pytest.fixture(scope="session")
def kit(switching_pki: Pki) -> Kit:
    return Kit(switching_pki, switching_pki.issue_euicc(make_eid(1), SeededRandomness("euicc")))
