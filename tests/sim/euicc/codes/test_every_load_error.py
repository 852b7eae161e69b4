"""Code by code: each way in which the load of a Bound Profile Package ends (SGP.22 2.5.6, 5.7.6; SAIP 8.11).

Every ErrorReason, BppCommandId and PEStatus of the codec must come back from a real package sent to a simulated eUICC,
exactly as it stands here; what a failed load leaves is one stored result and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from esim_bench.codec.es10_results import BPP_COMMANDS, INSTALL_ERRORS
from esim_bench.codec.sima import PE_STATUS, pe_statuses
from esim_bench.codec.tlv import Tlv, encode
from esim_bench.crypto import keys
from esim_bench.crypto.bsp import SessionKeys
from esim_bench.crypto.keys import Curve
from esim_bench.crypto.randomness import SeededRandomness
from esim_drivers.sim import pe_data
from esim_drivers.sim.load_result import Command, Reason
from esim_drivers.sim.personality import STANDARD, AuthorisationRule, Operator, Personality

INITIALISE, CONFIGURE, METADATA, METADATA2, REPLACE_KEYS, ELEMENTS = range(6)
TEST_CLASS, PROVISIONING_CLASS = "950100", "950101"


@dataclass(frozen=True)
class Way:
    """A load that fails: with which codes, and how it is brought about."""

    name: str
    command: int
    reason: int
    load: Callable[[Any, Any], Tlv]
    """Given the bench and a card, download profile 1; return the result."""
    status: int | None = None
    personality: Personality = STANDARD
    profiles: tuple[int, ...] = ()


def initialise(**changes: bytes) -> Callable[[Any, Any], Tlv]:
    """Change members of InitialiseSecureChannel; all but the signature are signed as they are."""

    def load(bench, card):
        lpa = bench.lpa(card)
        otpk = lpa.prepare().get(0xA0, 0x30, 0x5F49).raw
        bpp = lpa.server.segments(
            otpk,
            card.identity.eid,
            bench.package(bench.iccid(1)),
            bench.kit.metadata(1),
            initialise=lpa.server.initialise(otpk, **changes),
        )
        return lpa.load(bpp)

    return load


def off_the_curve() -> bytes:
    point = bytearray(keys.point(keys.generate(Curve.P256, SeededRandomness("point"))))
    point[-1] ^= 1
    return encode(0x5F49, bytes(point))


def with_metadata(more: str = "", **options: Any) -> Callable[[Any, Any], Tlv]:
    return lambda bench, card: bench.download(card, 1, more, **options)


def with_elements(*make: Callable[[Any], Any], more: str = "", **changes: Callable[[Any], Any]) -> Callable[..., Tlv]:
    """A package with elements put before its last, or in place of one of its own."""

    def load(bench, card):
        package = bench.package(
            bench.iccid(1),
            *(one(bench) for one in make),
            **{name: one(bench) for name, one in changes.items()},
        )
        return bench.download(card, 1, more, package=package)

    return load


def with_header(**changes: Any) -> Callable[[Any, Any], Tlv]:
    return with_elements(header=lambda bench: bench.package.header(bench.iccid(1), **changes))


def flipped(number: int, at: int = -1, **options: Any) -> Callable[[Any, Any], Tlv]:
    """One bit of the protected TLV of this number, counted from 1, is another."""

    def change(count: int, tlv: bytes) -> bytes:
        if count != number:
            return tlv
        tlv = bytearray(tlv)
        tlv[at] ^= 1
        return bytes(tlv)

    return lambda bench, card: bench.download(card, 1, change=change, **options)


def cut_short(bench, card):
    """The power goes when half of the package is there."""
    lpa = bench.lpa(card)
    for segment in lpa.bpp(bench.package(bench.iccid(1)), bench.kit.metadata(1))[:-1]:
        assert card.chain(segment) == (b"", 0x9000)
    card.reset()
    (result,) = card.notifications()
    return result


def other_function(bench, card):
    """The LPA begins to do something else in the middle of a load."""
    lpa = bench.lpa(card)
    for segment in lpa.bpp(bench.package(bench.iccid(1)), bench.kit.metadata(1))[:3]:
        assert card.chain(segment) == (b"", 0x9000)
    card.es10("BF2E00")
    (result,) = card.notifications()
    return result


def malformed_keys(bench, card):
    """ReplaceSessionKeys with an S-ENC of 15 bytes."""
    lpa = bench.lpa(card)
    otpk = lpa.prepare().get(0xA0, 0x30, 0x5F49).raw
    eid = card.identity.eid
    bsp = lpa.server.bsp(otpk, eid)
    metadata = bench.kit.metadata(1)
    bad = encode(0xBF26, encode(0x80, bytes(16)), encode(0x81, bytes(15)), encode(0x82, bytes(16)))
    a0 = encode(0xA0, bsp.protect(0x87, bytes.fromhex("BF2400")))
    a1 = encode(0xA1, bsp.protect(0x88, metadata))
    a2 = encode(0xA2, bsp.protect(0x87, bad))
    a3 = encode(0xA3, bytes(100))
    first = lpa.server.initialise(otpk)
    whole = encode(0xBF36, first, a0, a1, a2, a3)
    return lpa.load([whole[: -len(a0 + a1 + a2 + a3)], a0, a1, a2])


def first_tag(tag: int) -> Callable[[int, bytes], bytes]:
    """The first protected TLV under another tag."""
    return lambda count, tlv: bytes((tag,)) + tlv[1:] if count == 1 else tlv


def unsupported(mandated: bool) -> Callable[[Any], bytes]:
    """A nonStandard element; no eUICC has to know it."""
    flag = b"\x80\x00" if mandated else b""
    return lambda bench: encode(0xA9, encode(0xA0, flag, b"\x81\x01\x08"), b"\x06\x01\x2a", b"\x04\x00")


def application(bench: Any) -> tuple[str, dict[str, Any]]:
    load = {"loadPackageAID": bytes.fromhex("A000000559101001"), "loadBlockObject": bytes(20)}
    return "application", {"app-Header": bench.package.head(8), "loadBlock": load}


def large_file(bench: Any) -> tuple[str, dict[str, Any]]:
    fcp = {"fileDescriptor": b"\x41\x21", "fileID": b"\x2f\x77", "efFileSize": b"\x70\x00"}
    header = {"gfm-header": bench.package.head(8)}
    return "genericFileManagement", header | {"fileManagementCMD": [[("createFCP", fcp)]]}


def any_metadata(data: bytes) -> Callable[[Any, Any], Tlv]:
    return lambda bench, card: bench.download(card, 1, metadata=data)


BULK = encode(0xBF22, bytes(8000)).hex()
KEYS = SessionKeys(bytes(range(16)), bytes(range(16, 32)), bytes(range(32, 48)))
NOT_FOR_ALL = AuthorisationRule(("ppr1", "ppr2"), (Operator(bytes.fromhex("62F210"), gid1=b"\x01"),))
NO_JAVA = replace(STANDARD, uicc_capability=("usimSupport", "akaMilenage"))

WAYS = [
    Way("key not on the curve", INITIALISE, 1, initialise(otpk=off_the_curve())),
    Way("signature", INITIALISE, 2, initialise(signature=encode(0x5F37, bytes(64)))),
    Way("transaction", INITIALISE, 3, initialise(transaction=encode(0x80, b"another"))),
    Way("key type", INITIALISE, 4, initialise(template=bytes.fromhex("A609 800189 810110 840158"))),
    Way("remote operation", INITIALISE, 5, initialise(operation=bytes.fromhex("820102"))),
    Way(
        "memory failure at first",
        INITIALISE,
        127,
        with_metadata(),
        personality=replace(STANDARD, worn_memory=("euicc/installing",)),
    ),
    Way("ConfigureISDP of another tag", CONFIGURE, 1, with_metadata(configure=bytes.fromhex("BF2600"))),
    Way("segment of another tag", CONFIGURE, 7, with_metadata(change=first_tag(0x86))),
    Way("one bit of ConfigureISDP", CONFIGURE, 8, flipped(1)),
    Way("no ISD-P left", CONFIGURE, 10, with_metadata(), personality=replace(STANDARD, max_profiles=1), profiles=(2,)),
    Way("metadata without a name", METADATA, 1, any_metadata(encode(0xBF25, encode(0x5A, bytes(10))))),
    Way("test class", METADATA, 6, with_metadata(TEST_CLASS), personality=replace(STANDARD, rsp_capability=())),
    Way(
        "provisioning class",
        METADATA,
        6,
        with_metadata(PROVISIONING_CLASS),
        personality=replace(STANDARD, provisioning_downloads=False),
    ),
    Way("one bit of the metadata", METADATA, 8, flipped(2)),
    Way("metadata too large", METADATA, 10, with_metadata(BULK), personality=replace(STANDARD, nvm_size=10_000)),
    Way("the same ICCID", METADATA, 9, with_metadata(), profiles=(1,)),
    Way(
        "PPR1 for another operator",
        METADATA,
        15,
        with_metadata("B7 05 8003 62F220 99020640"),
        personality=replace(STANDARD, rules_authorisation_table=(NOT_FOR_ALL,)),
    ),
    Way(
        "PPR2 without the operator's GID",
        METADATA,
        15,
        with_metadata("B7 05 8003 62F210 99020520"),
        personality=replace(STANDARD, rules_authorisation_table=(NOT_FOR_ALL,)),
    ),
    Way(
        "a rule that is forbidden",
        METADATA,
        15,
        with_metadata("99020520"),
        personality=replace(STANDARD, forbidden_policy_rules=("ppr2",)),
    ),
    Way("PPR1 beside an operational profile", METADATA, 15, with_metadata("99020640"), profiles=(2,)),
    Way("one bit of the metadata's second segment", METADATA2, 8, flipped(3, metadata_size=40)),
    Way("one bit of ReplaceSessionKeys", REPLACE_KEYS, 8, flipped(3, replace=KEYS)),
    Way("key of another length", REPLACE_KEYS, 1, malformed_keys),
    Way("one bit of an element", ELEMENTS, 8, flipped(3)),
    Way("one bit of an element under other keys", ELEMENTS, 8, flipped(4, replace=KEYS)),
    Way("interrupted by a reset", ELEMENTS, 11, cut_short),
    Way("interrupted by another function", METADATA, 11, other_function),
    Way(
        "another ICCID in the header",
        ELEMENTS,
        13,
        lambda bench, card: bench.download(card, 1, package=bench.package(bench.iccid(2))),
    ),
    Way(
        "network key of a test profile",
        ELEMENTS,
        14,
        with_elements(akaParameter=lambda bench: bench.package.aka_parameter(key=bytes(16)), more=TEST_CLASS),
    ),
    Way(
        "memory failure at last",
        ELEMENTS,
        127,
        with_metadata(),
        personality=replace(STANDARD, worn_memory=("euicc/isdp/",)),
    ),
    Way("mandated element", ELEMENTS, 12, with_elements(unsupported(mandated=True)), 1),
    Way("memory failure in an element", ELEMENTS, 10, with_metadata(), 2, replace(STANDARD, worn_memory=("isdp/",))),
    Way(
        "key of another size",
        ELEMENTS,
        12,
        with_elements(akaParameter=lambda bench: bench.package.aka_parameter(key=bytes(15))),
        3,
    ),
    Way("a file too large", ELEMENTS, 10, with_elements(large_file), 4, replace(STANDARD, nvm_size=20_000)),
    Way("a second header", ELEMENTS, 12, with_elements(lambda bench: bench.package.header(bench.iccid(1))), 5),
    Way(
        "PIN of another place",
        ELEMENTS,
        12,
        with_elements(pinCodes=lambda bench: bench.package.pin_codes(keyReference=129)),
        6,
    ),
    Way("application", ELEMENTS, 12, with_elements(application), 7, NO_JAVA),
    Way(
        "library", ELEMENTS, 12, with_header(**{"eUICC-Mandatory-AIDs": [{"aid": bytes(8), "version": b"\x01\x00"}]}), 8
    ),
    Way("template", ELEMENTS, 12, with_header(**{"eUICC-Mandatory-GFSTEList": ["2.23.143.1.2.99"]}), 9),
    Way("service", ELEMENTS, 12, with_header(**{"eUICC-Mandatory-services": {"contactless": None}}), 10),
    Way(
        "PIN without its PUK",
        ELEMENTS,
        12,
        with_elements(pinCodes=lambda bench: bench.package.pin_codes(unblockingPINReference=2)),
        11,
    ),
    Way("version", ELEMENTS, 12, with_header(**{"minor-version": 9}), 31),
]


def test_the_tables_are_those_of_the_standard():
    assert dict(enumerate(BPP_COMMANDS)) == {number: number for number in range(6)}
    assert sorted(INSTALL_ERRORS) == [*range(1, 16), 127]
    assert sorted(PE_STATUS) == [*range(12), 31]
    assert sorted(Command) == sorted(BPP_COMMANDS)
    assert sorted(Reason) == sorted(INSTALL_ERRORS)
    assert sorted(pe_data.PeStatus) == sorted(PE_STATUS)


def test_every_code_has_a_way():
    assert sorted({way.reason for way in WAYS}) == sorted(INSTALL_ERRORS)
    assert sorted({way.command for way in WAYS}) == sorted(BPP_COMMANDS)
    assert sorted({way.status for way in WAYS if way.status is not None} | {0}) == sorted(PE_STATUS)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_the_code_is_reached(bench, way):
    card = bench.card(*way.profiles, personality=way.personality)
    before, installed = card.nvm.contents(), [one.raw for one in card.profiles()]
    result = way.load(bench, card)
    error = result.get(0xBF27, 0xA2, 0xA1)
    response = error.find(0x82)
    statuses = [one.code for one in pe_statuses(response.value)] if response is not None else []
    assert (error.get(0x80).value[0], error.get(0x81).value[0]) == (way.command, way.reason)
    assert statuses == ([way.status] if way.status is not None else [])
    assert [one.raw for one in card.notifications()] == [result.raw]
    assert [one.raw for one in card.profiles()] == installed
    changed = {key.split("/")[0] for key, value in card.nvm.contents().items() if before.get(key) != value}
    assert changed <= {"notification", "euicc"}
    assert card.nvm.get("euicc/installing") is None
    assert card.card.isdr.registry.violations() == []


def test_a_load_that_ends_well_says_so_of_every_element(bench):
    """PEStatus ok; an element that is neither supported nor mandated is skipped, and the answer says which."""
    card = bench.card()
    result = bench.download(card, 1, package=bench.package(bench.iccid(1), unsupported(mandated=False)(bench)))
    statuses = pe_statuses(result.get(0xBF27, 0xA2, 0xA0, 0x04).value)
    assert [(one.name, one.identification) for one in statuses] == [("ok", None), ("pe-not-supported", 8)]
    assert [one.get(0x5A).value for one in card.profiles()] == [bench.iccid(1)]


def test_the_test_network_key_is_free_in_its_last_byte(bench):
    for last in (0x00, 0x0F, 0xFF):
        key = bytes(range(15)) + bytes((last,))
        package = bench.package(bench.iccid(1), akaParameter=bench.package.aka_parameter(key=key))
        result = bench.download(bench.card(), 1, TEST_CLASS, package=package)
        assert result.find(0xBF27, 0xA2, 0xA0) is not None


def test_no_download_without_room_for_its_result(bench):
    """The first segment is refused at once: nothing has begun, and no result is owed."""
    card = bench.card()
    full = bench.card(personality=replace(STANDARD, nvm_size=card.nvm.used + 900))
    lpa = bench.lpa(full)
    segments = lpa.bpp(bench.package(bench.iccid(1)), bench.kit.metadata(1))
    assert full.chain(segments[0]) == (b"", 0x6A84)
    assert full.chain(segments[1]) == (b"", 0x6985)
    assert full.notifications() == []
