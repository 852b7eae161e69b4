"""Whole simulated cards, spoken to in APDUs, with everything on them that leads to one result code or another."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from esim_bench.codec.apdu import Command
from esim_bench.codec.es10 import ISD_R_AID
from esim_bench.codec.saip import encode_element
from esim_bench.codec.tlv import Tlv, encode, parse
from esim_bench.crypto.identity import EuiccIdentity
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.servers.pki import Pki
from esim_drivers.sim.card import SimCard
from esim_drivers.sim.nvm import Nvm
from esim_drivers.sim.personality import STANDARD, Personality

USIM = bytes.fromhex("A0000000871002FF49FF0589")
TEST_KEY = bytes(range(15)) + b"\x07"
START, END = datetime.datetime(2025, 1, 1), datetime.datetime(2035, 1, 1)
Element = tuple[str, dict[str, Any]]


class WholeCard:
    """A SimCard after the start-up of its terminal, with the ISD-R selected on channel 1."""

    def __init__(self, identity: EuiccIdentity, personality: Personality = STANDARD, nvm: Nvm | None = None) -> None:
        self.card = SimCard(identity, personality, SeededRandomness("card"), nvm=nvm)
        self.identity = identity
        self.proactive = 0
        self.reset()

    @property
    def nvm(self) -> Nvm:
        return self.card.nvm

    def reset(self) -> None:
        self.card.power_on()
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

    def profiles(self) -> list[Tlv]:
        return self.es10("BF2D00").get(0xA0).children()

    def notifications(self) -> list[Tlv]:
        return self.es10("BF2B00").get(0xA0).children()


# ------------------------------------------------------------------------------------------------------ packages


def head(number: int, mandated: bool = True) -> dict[str, Any]:
    return {"mandated": None, "identification": number} if mandated else {"identification": number}


def header(iccid: bytes, **changes: Any) -> Element:
    printed = bytes((byte & 0x0F) << 4 | byte >> 4 for byte in iccid)
    return "header", {
        "major-version": 2,
        "minor-version": 3,
        "iccid": printed,
        "eUICC-Mandatory-services": {"usim": None, "milenage": None},
        "eUICC-Mandatory-GFSTEList": ["2.23.143.1.2.1", "2.23.143.1.2.4"],
    } | changes


def mf(iccid: bytes) -> Element:
    record = ("fileDescriptor", {"fileDescriptor": b"\x42\x21\x00\x14", "efFileSize": b"\x14"})
    return "mf", {
        "mf-header": head(1),
        "templateID": "2.23.143.1.2.1",
        "mf": [("fileDescriptor", {"securityAttributesReferenced": b"\x2f\x06\x01"})],
        "ef-iccid": [("fillFileContent", iccid)],
        "ef-dir": [record, ("fillFileContent", b"\x61\x0e\x4f\x0c" + USIM)],
        "ef-arr": [record, ("fillFileContent", bytes.fromhex("8001019000800102A40683010A950108"))],
    }


def puk_codes() -> Element:
    return "pukCodes", {"puk-Header": head(2), "pukCodes": [{"keyReference": 1, "pukValue": b"11111111"}]}


def pin_codes(**changes: Any) -> Element:
    pin = {"keyReference": 1, "pinValue": b"0000\xff\xff\xff\xff", "unblockingPINReference": 1, "pinAttributes": 6}
    return "pinCodes", {"pin-Header": head(3), "pinCodes": ("pinconfig", [pin | changes])}


def usim() -> Element:
    return "usim", {
        "usim-header": head(4),
        "templateID": "2.23.143.1.2.4",
        "adf-usim": [("fileDescriptor", {"fileID": b"\x7f\xd0", "dfName": USIM, "pinStatusTemplateDO": b"\x01"})],
        "ef-imsi": [("fillFileContent", bytes.fromhex("080910101032540636"))],
        "ef-arr": [("fileDescriptor", {"fileDescriptor": b"\x42\x21\x00\x14", "efFileSize": b"\x14"})],
        "ef-ust": [("fileDescriptor", {"efFileSize": b"\x11"}), ("fillFileContent", bytes(17))],
        "ef-spn": [("fillFileContent", b"\x01bench")],
        "ef-est": [("fillFileContent", b"\x00")],
        "ef-acc": [("fillFileContent", b"\x00\x01")],
        "ef-ecc": [("fileDescriptor", {"fileDescriptor": b"\x42\x21\x00\x04", "efFileSize": b"\x04"})],
    }


def aka_parameter(**changes: Any) -> Element:
    algorithm = {"algorithmID": 1, "algorithmOptions": b"\x01", "key": TEST_KEY, "opc": bytes(16)}
    return "akaParameter", {"aka-header": head(5), "algoConfiguration": ("algoParameter", algorithm | changes)}


def end() -> Element:
    return "end", {"end-header": head(9)}


@dataclass(frozen=True)
class Package:
    """A small profile package. Elements given by name replace those of its own; ``extra`` come before the last."""

    header: Callable[..., Element] = header
    head: Callable[..., dict[str, Any]] = head
    pin_codes: Callable[..., Element] = pin_codes
    aka_parameter: Callable[..., Element] = aka_parameter

    def __call__(self, iccid: bytes, *extra: Element | bytes, **changes: Element) -> bytes:
        usual = (header(iccid), mf(iccid), puk_codes(), pin_codes(), usim(), aka_parameter())
        elements = [changes.get(element[0], element) for element in usual]
        return b"".join(one if isinstance(one, bytes) else encode_element(*one) for one in (*elements, *extra, end()))


# ------------------------------------------------------------------------------------------------------ certificates


def reissued(pki: Pki, der: bytes, *, key: Any = None, without_name: bool = False, serial: int = 77) -> bytes:
    """A certificate of the CI again, with another key, or without its subject alternative name."""
    old = x509.load_der_x509_certificate(der)
    public = key.public_key() if key is not None else old.public_key()
    builder = x509.CertificateBuilder(old.issuer, old.subject, public, serial, START, END)
    for extension in old.extensions:
        if not (without_name and isinstance(extension.value, x509.SubjectAlternativeName)):
            builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(pki.ci.key, hashes.SHA256()).public_bytes(Encoding.DER)


def extension(number: int, value: bytes) -> x509.UnrecognizedExtension:
    """An extension of SGP.22: expirationDate 1, totalPartialCrlNumber 2, partialCrlNumber 3."""
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(f"2.23.146.1.2.0.{number}"), value)


def make_crl(
    pki: Pki,
    number: int | None,
    revoked: Sequence[bytes] = (),
    *,
    base: int | None = None,
    part: tuple[int, int] | None = None,
    removed: bool = False,
    expires: bytes | None = None,
    more: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> bytes:
    """A CRL of the CI that revokes certificates (DER); ``base`` makes it a delta CRL; ``part``: number and total."""
    ci = x509.load_der_x509_certificate(pki.ci.certificate)
    builder = x509.CertificateRevocationListBuilder(ci.subject, START, END)
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.AuthorityKeyIdentifier(pki.ci_key.key_id, None, None), False)
    ]
    if number is not None:
        extensions.append((x509.CRLNumber(number), False))
    if base is not None:
        extensions.append((x509.DeltaCRLIndicator(base), True))
    if part is not None:
        extensions += [(extension(3, bytes((2, 1, part[0]))), True), (extension(2, bytes((2, 1, part[1]))), True)]
    for value, critical in (*extensions, *more):
        builder = builder.add_extension(value, critical)
    for der in revoked:
        entry = x509.RevokedCertificateBuilder(x509.load_der_x509_certificate(der).serial_number, START)
        if removed:
            entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags.remove_from_crl), False)
        if expires is not None:
            entry = entry.add_extension(extension(1, expires), True)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(pki.ci.key, hashes.SHA256()).public_bytes(Encoding.DER)


# ------------------------------------------------------------------------------------------------------ the bench


@dataclass(repr=False)
class Bench:
    """Cards with profiles, and servers, by the names that the tables use."""

    kit: Any
    pki: Pki
    foreign: Pki
    snapshots: dict[tuple[tuple[int, str], ...], bytes] = field(default_factory=dict)
    package: Package = field(default_factory=Package)
    crl: Callable[..., bytes] = make_crl
    reissued: Callable[..., bytes] = reissued

    def iccid(self, number: int) -> bytes:
        result: bytes = self.kit.iccid(number)
        return result

    def lpa(self, card: WholeCard, **server: Any) -> Any:
        return self.kit.Lpa(card, self.kit.Server(server.pop("pki", self.pki), **server))

    def download(self, card: WholeCard, number: int, more: str = "", package: bytes | None = None, **how: Any) -> Tlv:
        """Download a profile; ``more``: members of its metadata in hexadecimal."""
        metadata = how.pop("metadata", None) or self.kit.metadata(number, more=bytes.fromhex(more))
        result: Tlv = self.lpa(card).download(package or self.package(self.iccid(number)), metadata, **how)
        return result

    def card(self, *profiles: int | tuple[int, str], personality: Personality = STANDARD, **changes: Any) -> WholeCard:
        """A card with these profiles, disabled, and no notifications; ``changes`` of its identity."""
        wanted = tuple((one, "") if isinstance(one, int) else one for one in profiles)
        if wanted not in self.snapshots:
            made = WholeCard(self.kit.identity)
            for number, more in wanted:
                assert self.download(made, number, more).find(0xBF27, 0xA2, 0xA0) is not None
            for key in made.nvm.keys("notification/"):
                made.nvm.delete(key)
            self.snapshots[wanted] = made.nvm.snapshot()
        nvm = Nvm.restore(self.snapshots[wanted])
        return WholeCard(replace(self.kit.identity, **changes), personality, nvm)

    def switch(self, tag: int, number: int, refresh: bool = True) -> bytes:
        choice = encode(0xA0, encode(0x5A, self.iccid(number)))
        return encode(tag, choice, encode(0x81, b"\xff" if refresh else b"\x00"))

    def load_crl(self, card: WholeCard, *arguments: Any, **options: Any) -> Tlv:
        return card.es10(encode(0xBF35, make_crl(options.pop("pki", self.pki), *arguments, **options)))


@pytest.fixture(scope="session")
def bench(kit_of: Any, make_pki: Callable[..., Pki]) -> Bench:
    return Bench(kit_of, kit_of.pki, make_pki("foreign"))
