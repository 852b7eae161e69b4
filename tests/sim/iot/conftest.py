"""Whole simulated IoT eUICCs, spoken to in APDUs, and an eIM of a few lines that signs packages for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from inspect import signature
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from esim_bench.codec import es10_iot, es10_iot_answers, euicc_package
from esim_bench.codec.apdu import Command
from esim_bench.codec.eim_configuration import EimConfigurationData, KeyData
from esim_bench.codec.es10 import ISD_R_AID
from esim_bench.codec.euicc_operations import Operation
from esim_bench.codec.euicc_package import EuiccPackageResult, SignedError, SignedResult, UnsignedError
from esim_bench.codec.saip import encode_element
from esim_bench.codec.sgp32 import Version
from esim_bench.codec.tlv import Tlv, encode, parse
from esim_bench.crypto import ecdsa
from esim_bench.crypto.identity import EuiccIdentity, SigningIdentity
from esim_bench.crypto.keys import Curve, generate
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.crypto.x509 import Certificate
from esim_bench.errors import CodecError
from esim_bench.ports import PreloadedProfile
from esim_bench.servers.pki import create_pki, make_eid
from esim_drivers.sim.card import SimCard
from esim_drivers.sim.iot.eims import Eims
from esim_drivers.sim.iot.package_functions import PackageFunctions
from esim_drivers.sim.nvm import MemoryFailure, Nvm
from esim_drivers.sim.personality import STANDARD, Personality
from esim_drivers.sim.profile_metadata import Event
from esim_drivers.sim.registry import Registry

try:
    from esim_drivers.sim.iot.standards import Standards
    from esim_drivers.sim.iot.switching import Switching  # noqa: F401

    HAS_SWITCHING = "standards" in signature(SimCard).parameters
except ImportError:
    HAS_SWITCHING = False

    @dataclass(frozen=True)
    class Standards:  # type: ignore[no-redef]
        consumer: bool = True
        iot: Version | None = None


NOW_NS = 1_750_000_000 * 10**9
EIM_ID = "testeim1.example.com"
GENERATE = -1
IOT = Standards(consumer=False, iot=Version.V1_2)
IOT_1_0_1 = Standards(consumer=False, iot=Version.V1_0_1)
DUAL = Standards(consumer=True, iot=Version.V1_2)
FALLBACK = bytes.fromhex("9F6701FF")
"""fallbackAllowed."""
EMERGENCY = bytes.fromhex("9F7B01FF")
"""ecallIndication."""


# ------------------------------------------------------------------------------------------------------ profiles


def iccid(number: int) -> bytes:
    """A 20-digit ICCID as in EF.ICCID: nibbles swapped."""
    digits = f"8900012345678901{number:04d}"
    return bytes(int(digits[at + 1] + digits[at], 16) for at in range(0, 20, 2))


def profile(number: int, *, more: bytes = b"", enabled: bool = False) -> PreloadedProfile:
    """A factory profile of an MF and two files, whose operator wants to hear of all that happens to it."""
    own = iccid(number)
    printed = bytes((byte & 0x0F) << 4 | byte >> 4 for byte in own)
    header = {
        "major-version": 2,
        "minor-version": 3,
        "iccid": printed,
        "eUICC-Mandatory-services": {},
        "eUICC-Mandatory-GFSTEList": ["2.23.143.1.2.1"],
    }
    record = {"fileDescriptor": b"\x42\x21\x00\x05", "efFileSize": b"\x05"}
    everybody = {"securityAttributesReferenced": b"\x2f\x06\x01"}
    mf = {
        "mf-header": {"mandated": None, "identification": 1},
        "templateID": "2.23.143.1.2.1",
        "mf": [("fileDescriptor", {"pinStatusTemplateDO": b"\x01\x0a"})],
        "ef-iccid": [("fileDescriptor", everybody), ("fillFileContent", own)],
        "ef-dir": [("fileDescriptor", {"fileDescriptor": b"\x42\x21\x00\x10", "efFileSize": b"\x10"})],
        "ef-arr": [("fileDescriptor", record | everybody), ("fillFileContent", bytes.fromhex("8001019000"))],
    }
    end = {"end-header": {"mandated": None, "identification": 2}}
    package = b"".join(encode_element(*one) for one in (("header", header), ("mf", mf), ("end", end)))
    metadata = encode(
        0xBF25,
        encode(0x5A, own),
        encode(0x91, b"Operator"),
        encode(0x92, b"Name %d" % number),
        encode(0xB6, encode(0x30, bytes.fromhex("800204F0"), encode(0x81, b"notify.example.com"))),
        more,
    )
    return PreloadedProfile(metadata, package, enabled)


# --------------------------------------------------------------------------------------------------- a simple switching


class SimpleSwitching:
    """Profile states and notifications, and nothing else: no policy, no fallback, no rollback."""

    ecall_active = False

    def __init__(self, euicc: Any, notifications: Any, manager: Any) -> None:
        self.nvm, self.notifications, self.manager = euicc.nvm, notifications, manager
        self.registry = Registry(euicc.nvm)

    def begin_package(self) -> None: ...

    def package_accepted(self) -> None: ...

    def show(self, refresh: bool) -> None:
        if self.manager.change_pending:
            self.manager._show(self.nvm.get("euicc/enabled"), refresh)

    def psmo_enable(self, iccid: bytes, rollback: bool) -> int:
        before = self.registry.enabled()
        if rollback and before is None:
            return 20
        return self._change(iccid, False, Event.ENABLE, lambda own: self.registry.set_enabled(own.aid), before)

    def psmo_disable(self, iccid: bytes) -> int:
        return self._change(iccid, True, Event.DISABLE, lambda own: self.registry.set_enabled(None))

    def psmo_delete(self, iccid: bytes) -> int:
        return self._change(iccid, False, Event.DELETE, lambda own: self.registry.remove(own.aid))

    def _change(self, iccid: bytes, enabled: bool, event: Event, write: Any, before: Any = None) -> int:
        own = self.registry.find(iccid=iccid)
        if own is None or own.enabled != enabled:
            return 1 if own is None else 2
        with self.nvm.transaction():
            write(own)
            if before is not None:
                self.notifications.add_event(before, Event.DISABLE)
            self.notifications.add_event(own, event)
        return 0

    def set_fallback(self, iccid: bytes) -> int:
        return 1 if self.registry.find(iccid=iccid) is None else 2

    def unset_fallback(self) -> int:
        return 2

    def configure_immediate(self, configuration: Any) -> int:
        self.nvm.put("iot/immediate", b"")
        return 0


def make_card(*arguments: Any, standards: Standards, **options: Any) -> SimCard:
    """A SimCard of an IoT eUICC, with a simple switching where there is no other one."""
    if HAS_SWITCHING:
        return SimCard(*arguments, standards=standards, **options)
    card = SimCard(*arguments, **options)
    isdr, version = card.isdr, standards.iot or Version.V1_2
    euicc, notifications, manager = isdr._euicc, isdr.notifications, isdr._manager
    switching = SimpleSwitching(euicc, notifications, manager)
    consumer = standards.consumer
    own = PackageFunctions(euicc, notifications, manager, switching, Eims(euicc), version, consumer=consumer)

    def lenient(tag: int, function: Any) -> Any:
        def call(request: Tlv) -> bytes:
            try:
                return function(request)
            except (CodecError, MemoryFailure):
                if tag not in own.undefined_errors:
                    raise
                return own.undefined_errors[tag]

        return call

    def reset(before: Any = isdr.reset) -> None:
        before()
        own.reset()

    isdr._reading.update({tag: lenient(tag, function) for tag, function in own.reading.items()})
    isdr._writing.update({tag: lenient(tag, function) for tag, function in own.writing.items()})
    isdr.iot, isdr.reset = own, reset
    return card


# ------------------------------------------------------------------------------------------------------ the card


class Card:
    """A SimCard after the start-up of its terminal, with the ISD-R selected on channel 1."""

    def __init__(
        self,
        identity: EuiccIdentity,
        nvm: Nvm | None = None,
        personality: Personality = STANDARD,
        standards: Standards = IOT,
        preload: Sequence[PreloadedProfile] = (),
    ) -> None:
        self.card = make_card(
            identity, personality, SeededRandomness("card"), preload=preload, nvm=nvm, standards=standards
        )
        self.identity = identity
        self.standards = standards
        self.proactive = 0
        self.reset()

    @property
    def nvm(self) -> Nvm:
        return self.card.nvm

    @property
    def iot(self) -> Any:
        return self.card.isdr.iot

    def reset(self) -> None:
        self.card.power_on()
        self.proactive = 0
        assert self.apdu(Command(0x80, 0x10, 0, 0, b"\xff" * 8)) == (b"", 0x9000)
        assert self.apdu(Command(0x00, 0x70, 0, 0, le=1)) == (b"\x01", 0x9000)
        assert self.apdu(Command(0x01, 0xA4, 4, 0, ISD_R_AID, 256))[1] == 0x9000

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

    def es10(self, request: bytes | str) -> Tlv:
        data, sw = self.chain(bytes.fromhex(request) if isinstance(request, str) else request)
        assert sw == 0x9000, f"{sw:04X}"
        return parse(data)

    # ------------------------------------------------------------------------------------------------ in one line

    def add(self, *configurations: EimConfigurationData) -> tuple[int | None, ...]:
        """AddInitialEim; return the token of each entry."""
        version = self.standards.iot or Version.V1_2
        return es10_iot_answers.added_eims_of(self.es10(es10_iot.add_initial_eim(configurations, version)).raw)

    def eims(self) -> tuple[EimConfigurationData, ...]:
        return es10_iot_answers.eim_configurations_of(self.es10("BF5500").raw)

    def load(self, package: bytes) -> EuiccPackageResult:
        return euicc_package.parse_result(self.es10(package).raw)

    def results(self) -> list[SignedResult]:
        """The package results that wait."""
        found = es10_iot_answers.retrieved(self.es10("BF2B04A0028200").raw).package_results
        parsed = [euicc_package.parse_result(one) for one in found]
        return [one for one in parsed if isinstance(one, SignedResult)]

    def notifications(self) -> list[tuple[int, int]]:
        """The notifications that wait: sequence number and event bits."""
        found = es10_iot_answers.retrieved(self.es10("BF2B00").raw).notifications
        metadata = [parse(one).get(0xBF2F) for one in found]
        return [(one.get(0x80).integer(), one.get(0x81).value[1]) for one in metadata]

    def profiles(self) -> dict[bytes, int]:
        """ICCID to state."""
        found = self.es10("BF2D00").get(0xA0).children()
        return {one.get(0x5A).value: one.get(0x9F70).integer() for one in found}

    def enabled(self) -> bytes | None:
        return next((own for own, state in self.profiles().items() if state), None)

    def violations(self) -> list[str]:
        return [*self.card.isdr.registry.violations(), *self.iot.violations()]

    def seen(self) -> tuple[Any, ...]:
        """All that a terminal can find out about profiles, eIMs and lists."""
        return self.profiles(), self.notifications(), self.eims(), self.results()


# ------------------------------------------------------------------------------------------------------ the eIM


@lru_cache(maxsize=32)
def _key(seed: str, curve: Curve) -> Any:
    return generate(curve, SeededRandomness(seed))


@dataclass
class SmallEim:
    """An eIM: its key, its counter, and the token that the eUICC made for it."""

    eim_id: str = EIM_ID
    curve: Curve = Curve.P256
    seed: str = ""
    eid: bytes = make_eid(1)
    token: int | None = None
    counter: int = 0
    version: Version = Version.V1_2

    @property
    def key(self) -> Any:
        return _key(self.seed or self.eim_id, self.curve)

    @property
    def public_key(self) -> KeyData:
        return KeyData(self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    def configuration(self, **changes: Any) -> EimConfigurationData:
        members = {"fqdn": self.eim_id, "id_type": 2, "counter": self.counter, "public_key": self.public_key}
        return EimConfigurationData(self.eim_id, **(members | changes))

    def package(
        self,
        *operations: Operation,
        counter: int | None = None,
        transaction: bytes | None = None,
        eid: bytes | None = None,
        token: int | None = None,
        list_tag: int | None = None,
    ) -> bytes:
        """Sign a package under the next counter, or the given one."""
        if counter is None:
            self.counter = counter = self.counter + 1
        signed = euicc_package.package_signed(
            self.eim_id, eid or self.eid, counter, operations, transaction, self.version, list_tag
        )
        return self.sign(signed, self.token if token is None else token)

    def sign(self, signed: bytes, token: int | None) -> bytes:
        data = euicc_package.to_be_signed(signed, token)
        return euicc_package.package_request(signed, ecdsa.sign(self.key, data, deterministic=True))

    def check(
        self, identity: EuiccIdentity, result: SignedResult | SignedError, signing: SigningIdentity | None = None
    ) -> None:
        """Verify a result as an eIM does. Raises CryptoError."""
        public = Certificate.load((signing or identity.signing[0]).euicc_certificate).public_key
        ecdsa.verify(public, result.signature, euicc_package.to_be_signed(result.signed_raw, self.token))


# ------------------------------------------------------------------------------------------------------ the bench


@dataclass(repr=False)
class IotBench:
    """Cards and eIMs; a card with profiles comes from a snapshot, so that each test has one of its own quickly."""

    identity: EuiccIdentity
    two_cis: tuple[SigningIdentity, ...]
    """Signing identities under two CIs, the one of ``identity`` first."""
    snapshots: dict[Any, bytes] = field(default_factory=dict)
    Card: type[Card] = Card
    Eim: type[SmallEim] = SmallEim
    iccid: Callable[[int], bytes] = iccid
    standards: tuple[Standards, ...] = (IOT, IOT_1_0_1, DUAL)
    has_switching: bool = HAS_SWITCHING
    FALLBACK: bytes = FALLBACK
    EMERGENCY: bytes = EMERGENCY

    def card(
        self,
        *profiles: int | tuple[int, bytes],
        enabled: int | None = None,
        personality: Personality = STANDARD,
        standards: Standards = IOT,
        **identity: Any,
    ) -> Card:
        """A card with these factory profiles; a tuple gives more members of the metadata."""
        wanted = tuple((one, b"") if isinstance(one, int) else one for one in profiles)
        if (wanted, enabled) not in self.snapshots:
            preload = [profile(number, more=more, enabled=number == enabled) for number, more in wanted]
            self.snapshots[wanted, enabled] = Card(self.identity, preload=preload).nvm.snapshot()
        nvm = Nvm.restore(self.snapshots[wanted, enabled])
        return Card(replace(self.identity, **identity), nvm, personality, standards)

    def again(self, snapshot: bytes, **options: Any) -> Card:
        """A card with a memory that was kept."""
        return Card(self.identity, Nvm.restore(snapshot), **options)

    def associated(self, *profiles: Any, eim: SmallEim | None = None, token: bool = True, **options: Any) -> Any:
        """A card and an eIM that is associated with it."""
        standards = options.get("standards", IOT)
        eim = eim if eim is not None else SmallEim()
        eim.version = standards.iot or Version.V1_2
        card = self.card(*profiles, **options)
        (eim.token,) = card.add(eim.configuration(association_token=GENERATE if token else None))
        return card, eim

    @staticmethod
    def personality(**changes: Any) -> Personality:
        """The standard make with something else about it."""
        return replace(STANDARD, **changes)

    @staticmethod
    def codes(result: EuiccPackageResult) -> list[tuple[str, int]]:
        """Function and code of each result of a package."""
        assert isinstance(result, SignedResult), result
        return [(one.function, one.code) for one in result.results]

    @staticmethod
    def error(result: EuiccPackageResult) -> int | None:
        """Code of a signed error, None for an unsigned one."""
        assert isinstance(result, SignedError | UnsignedError), result
        return result.code


def issued(name: str) -> EuiccIdentity:
    pki = create_pki(SeededRandomness(name), curve=Curve.P256, now_ns=NOW_NS)
    return pki.issue_euicc(make_eid(1), SeededRandomness("euicc"))


@pytest.fixture(scope="session")
def iot_identity() -> EuiccIdentity:
    return issued("pki")


@pytest.fixture(scope="session")
def iot(iot_identity: EuiccIdentity) -> IotBench:
    return IotBench(iot_identity, iot_identity.signing + issued("other pki").signing)
