"""Every decoder of binary objects, against whatever may come: it decodes, or raises an error of the bench's tree.

The objects are spoiled byte by byte, cut, and changed TLV by TLV with the lengths around put right, which gets further
into a decoder than noise does.
"""

import contextlib
import time
import tracemalloc
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esim_bench.codec import bpp, comprehension, es9_asn1, es10, identifiers, tlv
from esim_bench.codec.apdu import Command
from esim_bench.codec.atr import Atr, build_atr
from esim_bench.codec.metadata import Metadata
from esim_bench.codec.saip import ProfilePackage, ResolveContext, encode_element, resolve_files
from esim_bench.codec.saip.describe import content_text, rule_text
from esim_bench.codec.saip.diff import diff
from esim_bench.codec.saip.lint import lint
from esim_bench.crypto.crl import RevocationList
from esim_bench.crypto.keys import Curve, from_point, load_any_private, load_private, private_to_pem
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.crypto.x509 import Certificate
from esim_bench.errors import BenchError, CodecError
from esim_bench.servers.pki import create_pki, make_eid

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "operational-a.der"
ICCID = bytes.fromhex("98001032547698103214")
AID = bytes.fromhex("A0000005591010FFFFFFFF8900001000")
Seed = tuple[str, bytes]

# ------------------------------------------------------------------------------------------------- good objects


@cache
def package() -> bytes:
    return GOLDEN.read_bytes()


@cache
def pki() -> Any:
    made = create_pki(SeededRandomness("properties"), now_ns=1_767_225_600_000_000_000)
    return made.with_euicc(make_eid(123456789012), SeededRandomness("properties"))


def certificates() -> list[bytes]:
    made = pki()
    return [made.ci.certificate, made.eum.certificate]


def hexed(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", ""))


def metadata_of_a_notification(seq: int = 5) -> bytes:
    return tlv.encode(
        0xBF2F,
        tlv.encode(0x80, bytes((seq,))),
        hexed("81020780"),
        tlv.encode(0x0C, b"a.b"),
        tlv.encode(0x5A, ICCID),
    )


def install_result(final: str) -> bytes:
    data = tlv.encode(
        0xBF27, hexed("800101"), metadata_of_a_notification(), hexed("060388370A"), tlv.encode(0xA2, hexed(final))
    )
    return tlv.encode(0xBF37, data, tlv.encode(0x5F37, bytes(64)))


PROFILES = hexed(
    "BF2D35A033E3315A0A98001032547698103214 4F10A0000005591010FFFFFFFF8900001000 9F7001019104424E4348920454657374950100"
)
INFO2 = hexed(
    "BF22358103020301820302050083030100008400850206408802 0780A900AA0004030100000C01788D020780900100B407A0050403010200"
)
GOOD = install_result("A01D" + "4F10" + AID.hex() + "0409" + "3007A0053003800100")
BAD = install_result("A106800105 81010C")
OTHER = tlv.encode(0x30, metadata_of_a_notification(), tlv.encode(0x5F37, bytes(64)), hexed("3000"), hexed("3000"))
NOTIFICATIONS = tlv.encode(0xBF2B, tlv.encode(0xA0, GOOD, OTHER, BAD))
RULES = hexed("BF4315A013301180020560A10730058003EEEEEE82020780")
METADATA = Metadata(
    iccid=ICCID,
    service_provider="Bench",
    profile_name="Test",
    profile_class="operational",
    notifications=((("install", "enable"), "a.example.com"),),
    owner=(b"\x00\xf1\x10", b"\x0a", None),
)
BPP = bpp.build(
    tlv.encode(0xBF23, hexed("820101800101")),
    [tlv.encode(0x87, b"configure")],
    [tlv.encode(0x88, b"metadata")] * 2,
    [tlv.encode(0x86, b"element")] * 2,
    [tlv.encode(0x87, b"keys")],
)
REQUEST = {
    "euiccChallenge": bytes(16),
    "smdpAddress": "a.com",
    "euiccInfo1": hexed("BF200F8203020500A9040402AABBAA020400"),
}
SIGNED = tlv.encode(0x30, b"\x80\x01\x01")


def everything_of_info2(raw: bytes) -> None:
    info = es10.EuiccInfo2.parse(raw)
    assert info.document()
    assert info.ci_keys is not None
    lint(ProfilePackage.parse(package()), info)


def everything_of_a_package(raw: bytes) -> None:
    loose = ProfilePackage.parse(raw, ordered=False)
    for finding in lint(loose):
        assert finding.message
    strict = ProfilePackage.parse(raw, deep=True)
    assert (strict.iccid_text, strict.version, strict.services) is not None
    assert strict.imsi is None or strict.imsi.isdigit()
    assert strict.encode() is not None
    context = ResolveContext()
    for element in strict.elements:
        for spec in resolve_files(element, context):
            assert isinstance(content_text(spec), str)
    diff(strict, ProfilePackage.parse(package()))


def everything_of_a_certificate(raw: bytes) -> None:
    certificate = Certificate.load(raw)
    for value in (certificate.label, certificate.serial_number, certificate.organization, certificate.is_ca):
        assert value is None or str(value) is not None
    assert certificate.public_key is not None


def everything_of_notifications(raw: bytes) -> None:
    for item in es10.pending_notifications(raw):
        assert str(item)
        assert item.operation is not None
        assert item.address is not None
        assert item.seq is not None
        if item.is_install_result:
            es10.InstallResult.parse(item.raw)


def everything_of_profiles(raw: bytes) -> None:
    for profile in es10.profile_infos(raw):
        assert profile.state_name
        assert profile.class_name
        assert profile.enabled in (True, False)


def everything_of_rules(raw: bytes) -> None:
    for rule in es10.authorisation_table(raw):
        assert rule.allows("ppr1", (b"\x00\xf1\x10", None, None)) in (True, False)


def described(raw: bytes) -> None:
    assert isinstance(es10.describe(raw, raw), str)
    assert isinstance(es10.describe(raw, None), str)


def signed_part_of(raw: bytes) -> None:
    bpp.signed_part(tlv.parse(raw), bytes(65))


def all_of_es9_asn1(raw: bytes) -> None:
    es9_asn1.decode_request(raw)


DECODERS: dict[str, tuple[Callable[[bytes], Any], Callable[[], list[bytes]]]] = {
    "tlv": (tlv.parse, lambda: [INFO2, BPP]),
    "tlv list": (tlv.parse_all, lambda: [INFO2 + BPP]),
    "nesting": (tlv.check_nesting, lambda: [INFO2, NOTIFICATIONS]),
    "comprehension tlv": (comprehension.objects, lambda: [hexed("8103012100 82028182 8D0904 5465787420746F20")]),
    "atr": (Atr.parse, lambda: [build_atr([0], b"abc"), build_atr([0, 1], b"abcdef"), build_atr([1], b"")]),
    "command": (Command.parse, lambda: [hexed("00A4040C023F00"), hexed("80E2910003BF2000"), hexed("00B0000010")]),
    "bpp": (bpp.segments, lambda: [BPP]),
    "what smdpSign signs": (signed_part_of, lambda: [tlv.encode(0xBF23, hexed("820101"), hexed("5F3702AABB"))]),
    "metadata": (Metadata.parse, lambda: [METADATA.encode()]),
    "EUICCInfo1": (es10.EuiccInfo1.parse, lambda: [hexed("BF200F8203020500A9040402AABBAA020400")]),
    "EUICCInfo2": (everything_of_info2, lambda: [INFO2]),
    "profiles": (everything_of_profiles, lambda: [PROFILES, hexed("BF2D02A000")]),
    "rules": (everything_of_rules, lambda: [RULES, hexed("BF4302A000")]),
    "notifications": (everything_of_notifications, lambda: [NOTIFICATIONS]),
    "notification list": (
        es10.notification_list,
        lambda: [tlv.encode(0xBF28, tlv.encode(0xA0, metadata_of_a_notification()))],
    ),
    "install result": (es10.InstallResult.parse, lambda: [GOOD, BAD]),
    "result": (es10.result_code, lambda: [hexed("BF3103800101"), hexed("BF2903800100")]),
    "CRL parts": (
        es10.missing_crl_parts,
        lambda: [hexed("BF3503810106"), hexed("BF350AA008A006020102020103")],
    ),
    "EID": (es10.eid, lambda: [hexed("BF3E125A10") + bytes(16)]),
    "challenge": (es10.challenge, lambda: [hexed("BF2E128010") + bytes(16)]),
    "error": (es10.error_code, lambda: [hexed("BF3808A106800101020105"), hexed("BF2103810105")]),
    "description": (described, lambda: [INFO2, PROFILES, NOTIFICATIONS, hexed("BF3103800101"), GOOD, hexed("BF3E00")]),
    "ES9+ in ASN.1": (all_of_es9_asn1, lambda: [es9_asn1.encode_request("initiateAuthentication", REQUEST)]),
    "certificate": (everything_of_a_certificate, certificates),
    "certificates": (Certificate.load_chain, certificates),
    "private key": (load_private, lambda: [private_to_pem(pki().ci.key)]),
    "any private key": (load_any_private, lambda: [private_to_pem(pki().ci.key)]),
    "point": (lambda raw: from_point(Curve.P256, raw), lambda: [b"\x04" + bytes(64)]),
    "CRL": (RevocationList.load, lambda: [tlv.encode(0x30, SIGNED, SIGNED, hexed("030100"))]),
    "profile package": (everything_of_a_package, lambda: [package()]),
    "EID digits": (identifiers.eid_to_text, lambda: [bytes(16)]),
    "ICCID digits": (identifiers.iccid_to_text, lambda: [ICCID]),
    "IMSI digits": (identifiers.imsi_to_text, lambda: [hexed("080910101032547698")]),
    "access rule": (
        rule_text,
        lambda: [hexed("8001019000800102A40683010A950108"), hexed("800102A008A40683010195010890")],
    ),
}


# ------------------------------------------------------------------------------------------------- spoiling

Path_ = tuple[int, ...]


def places(data: bytes, path: Path_ = ()) -> list[Path_]:
    """Return the paths of all TLVs, as far down as the data can be read."""
    found: list[Path_] = []
    with contextlib.suppress(BenchError):
        for index, item in enumerate(tlv.parse_all(data)):
            found.append((*path, index))
            if item.constructed and len(path) < 12:
                found += places(item.value, (*path, index))
    return found


def edited(data: bytes, path: Path_, edit: Callable[[tlv.Tlv], bytes]) -> bytes:
    """Change one TLV; the lengths of those around it follow."""
    items = tlv.parse_all(data)
    item = items[path[0]]
    new = edit(item) if len(path) == 1 else tlv.encode(item.tag, edited(item.value, path[1:], edit))
    return b"".join(new if index == path[0] else each.raw for index, each in enumerate(items))


values = st.one_of(
    st.sampled_from((b"", b"\x00", b"\xff", b"\x80", b"\xff" * 33, b"\x00" * 17, b"\x7f" * 3000, b"\xff" * 3000)),
    st.binary(max_size=20),
)


@st.composite
def edits(draw: st.DrawFn) -> Callable[[tlv.Tlv], bytes]:
    value, tag = draw(values), draw(st.sampled_from((0x30, 0x80, 0x81, 0xA0, 0x5A, 0x02, 0x0C, 0xBF22, 0x5F37)))
    return draw(
        st.sampled_from(
            (
                lambda item: tlv.encode(item.tag, value),
                lambda item: b"",
                lambda item: item.raw + item.raw,
                lambda item: tlv.encode(tag, item.value),
                lambda item: tlv.encode(item.tag, item.raw),
                lambda item: tlv.encode(item.tag, item.value, value),
                lambda item: item.raw + tlv.encode(tag, value),
            )
        )
    )


@st.composite
def spoiled(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 3))):
        where = places(data)
        kind = draw(st.integers(0, 3)) if where else 3
        if kind < 3:
            data = edited(data, draw(st.sampled_from(where)), draw(edits()))
        elif data:
            at = draw(st.integers(0, len(data) - 1))
            data = draw(
                st.sampled_from(
                    (
                        data[:at],
                        data[:at] + bytes((draw(st.integers(0, 255)),)) + data[at + 1 :],
                        data[:at] + draw(values) + data[at:],
                    )
                )
            )
    return data


QUICK = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def decode(decoder: Callable[[bytes], Any], data: bytes) -> None:
    """Decode; an error of the bench's tree is as good, if it can be shown."""
    try:
        decoder(data)
    except BenchError as exc:
        str(exc).encode()


@pytest.mark.parametrize("name", DECODERS)
@QUICK
@given(data=st.data())
def test_a_spoiled_object_is_decoded_or_refused(name: str, data: st.DataObject) -> None:
    decoder, seeds = DECODERS[name]
    decode(decoder, data.draw(spoiled(seeds())))


@pytest.mark.parametrize("name", DECODERS)
@settings(QUICK, max_examples=20)
@given(data=st.binary(max_size=200))
def test_noise_is_refused(name: str, data: bytes) -> None:
    decode(DECODERS[name][0], data)


@pytest.mark.parametrize("name", DECODERS)
def test_good_objects_are_decoded(name: str) -> None:
    # Otherwise the tests above would spoil what is refused anyway.
    decoder, seeds = DECODERS[name]
    if name not in ("CRL", "point"):
        for seed in seeds():
            decoder(seed)


# ------------------------------------------------------------------------------------------------- what lasts long


def nested(levels: int) -> bytes:
    data = b""
    for _ in range(levels):
        data = tlv.encode(0x30, data)
    return data


def header_of(oid: bytes) -> bytes:
    # The header of a package that asks for one template.
    lists = hexed("A500") + tlv.encode(0xA6, tlv.encode(0x06, oid))
    return tlv.encode(0xA0, hexed("800102 810103 830A") + bytes(10), lists) + hexed("AA07A0058000810101")


def files_of(*descriptors: bytes) -> bytes:
    # A package whose genericFileManagement creates files below the MF.
    commands = [tlv.encode(0x30, tlv.encode(0x62, descriptor)) for descriptor in (MF, *descriptors)]
    management = tlv.encode(0xA1, hexed("A0058000810102"), tlv.encode(0xA1, *commands))
    header = tlv.encode(0xA0, hexed("800102 810103 830A") + bytes(10), hexed("A500A600"))
    return header + management + hexed("AA07A0058000810101")


MF = hexed("82027821 83023F00")
BIG = hexed("82024121") + b"%s" + hexed("8004 003FFFFF")
BOMBS: dict[str, bytes] = {
    "nested deeply": nested(5_000),
    "longer than it is": hexed("3084FFFFFFFF"),
    "no end of a tag": b"\x9f" + b"\xff" * 100_000,
    "no end of a length": b"\x30\xff" + b"\xff" * 100_000,
    "many objects": tlv.encode(0xBF22, b"\x05\x00" * 8_000),
    "many profiles": tlv.encode(0xBF2D, tlv.encode(0xA0, b"\xe3\x00" * 8_000)),
    "long result": tlv.encode(0xBF31, tlv.encode(0x80, b"\x7f" * 100_000)),
    "long error": tlv.encode(0xBF38, tlv.encode(0xA1, tlv.encode(0x02, b"\x7f" * 100_000))),
    "long number of a notification": tlv.encode(
        0xBF28, tlv.encode(0xA0, tlv.encode(0xBF2F, tlv.encode(0x80, b"\x7f" * 100_000)))
    ),
    "long arc": header_of(b"\xff" * 100_000 + b"\x01"),
    "long version": hexed("BF22") + tlv.encode(0xBF22, tlv.encode(0x81, b"\xff" * 100_000))[2:],
    "many large files": files_of(*(BIG % tlv.encode(0x83, bytes((0x6F, number))) for number in range(200))),
    "long file size": files_of(hexed("82024121 83026F01") + tlv.encode(0x80, b"\xff" * 5000)),
    "many links": files_of(*(hexed("82024121 8302") + bytes((0x6F, n)) + hexed("C7022FE2") for n in range(256))),
    "certificates without end": b"-----BEGIN CERTIFICATE-----\n" * 5_000,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_takes_neither_time_nor_memory(bomb: str) -> None:
    data = BOMBS[bomb]
    for decoder, _ in DECODERS.values():
        start = time.thread_time()
        decode(decoder, data)
        # Generous: what these tests are about grows by the square of the size, or beyond.
        assert time.thread_time() - start < 20
        tracemalloc.start()
        decode(decoder, data)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 64 * 1024 * 1024


# ------------------------------------------------------------------------------------------------- file management

fcps = st.fixed_dictionaries(
    {},
    optional={
        "fileDescriptor": st.binary(min_size=2, max_size=4)
        | st.sampled_from((b"\x41\x21", b"\x42\x21\x00\x04", b"\x78\x21")),
        "fileID": st.binary(min_size=2, max_size=2),
        "dfName": st.binary(min_size=5, max_size=16),
        "lcsi": st.binary(min_size=1, max_size=1),
        "securityAttributesReferenced": st.binary(min_size=1, max_size=3),
        "efFileSize": st.binary(max_size=4),
        "pinStatusTemplateDO": st.binary(max_size=4),
        "shortEFID": st.binary(max_size=1),
        "linkPath": st.binary(max_size=8) | st.just(b"\x2f\xe2"),
        "proprietaryEFInfo": st.fixed_dictionaries(
            {},
            optional={
                "fillPattern": st.binary(min_size=1, max_size=9),
                "repeatPattern": st.binary(min_size=1, max_size=9),
                "maximumFileSize": st.binary(max_size=3),
            },
        ),
    },
)
commands = st.lists(
    st.one_of(
        st.tuples(st.just("createFCP"), fcps),
        st.tuples(
            st.just("filePath"),
            st.sampled_from((b"", b"\x2f\xe2", b"\x7f\xd0", b"\x7f\x10\x6f\x06")) | st.binary(max_size=8),
        ),
        st.tuples(st.just("fillFileOffset"), st.integers(0, 65535)),
        st.tuples(st.just("fillFileContent"), st.binary(max_size=40)),
    ),
    min_size=1,
    max_size=5,
)


@settings(QUICK, max_examples=100)
@given(st.lists(commands, min_size=1, max_size=4))
def test_any_file_management_is_carried_out_or_refused(lists: list[list[tuple[str, Any]]]) -> None:
    parts = [element.raw for element in ProfilePackage.parse(package()).elements]
    head = {"mandated": None, "identification": 99}
    new = encode_element("genericFileManagement", {"gfm-header": head, "fileManagementCMD": lists})
    decode(everything_of_a_package, b"".join([*parts[:-1], new, parts[-1]]))


# ------------------------------------------------------------------------------------------------- once wrong


def test_an_alternative_of_a_later_version_is_refused() -> None:
    # asn1tools makes nothing of it, and says nothing.
    with pytest.raises(CodecError, match="finalResult"):
        es10.InstallResult.parse(install_result("A200"))
    with pytest.raises(CodecError, match="malformed"):
        es10.profile_infos(hexed("BF2D02A900"))


@pytest.mark.parametrize("number", ["", "7F" * 3000])
def test_numbers_of_no_size_or_any_size_are_refused(number: str) -> None:
    value = hexed(number)
    with pytest.raises(CodecError, match="expected 1 to 64 bytes"):
        tlv.parse(tlv.encode(0x80, value)).integer()
    with pytest.raises(CodecError, match="1 to 64 bytes"):
        es10.notification_list(
            tlv.encode(0xBF28, tlv.encode(0xA0, tlv.encode(0xBF2F, tlv.encode(0x80, value), hexed("81020780 0C01 61"))))
        )
    with pytest.raises(CodecError):
        es10.result_code(tlv.encode(0xBF31, tlv.encode(0x80, value)))
    with pytest.raises(CodecError):
        es10.error_code(tlv.encode(0xBF38, tlv.encode(0xA1, tlv.encode(0x02, value))))


def test_an_object_identifier_has_an_end() -> None:
    with pytest.raises(CodecError, match="Object identifier too long"):
        ProfilePackage.parse(header_of(b"\xff" * 200 + b"\x01"), deep=True)


def test_a_file_size_has_an_end() -> None:
    package_of_one = files_of(hexed("82024121 83026F01") + tlv.encode(0x80, b"\xff" * 5000))
    (finding,) = [each for each in lint(ProfilePackage.parse(package_of_one)) if each.severity == "error"]
    assert (finding.rule, finding.found) == ("file-resolves", "a number of 5000 bytes")
