"""Bound profile packages, metadata, activation codes, the JSON binding of ES9+."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.codec import bpp, es9, tlv
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.codec.metadata import Metadata
from esim_bench.errors import CodecError, RspError

ICCID = bytes.fromhex("98001032547698103214")
INITIALISE = tlv.encode(0xBF23, bytes.fromhex("820101"), bytes.fromhex("800101"))

parts = st.lists(st.binary(max_size=300), min_size=1, max_size=5)


@given(parts, parts, parts, st.booleans())
def test_segments_are_the_package_cut_and_nothing_else(
    metadata: list[bytes], elements: list[bytes], configure: list[bytes], random_keys: bool
) -> None:
    raw = bpp.build(
        INITIALISE,
        [tlv.encode(0x87, part) for part in configure],
        [tlv.encode(0x88, part) for part in metadata],
        [tlv.encode(0x86, part) for part in elements],
        [tlv.encode(0x87, b"keys")] if random_keys else (),
    )
    segments = bpp.segments(raw)
    assert b"".join(segments) == raw
    assert segments[0].endswith(INITIALISE)
    assert [tlv.parse(s).tag for s in segments[-len(elements) :]] == [0x86] * len(elements)
    parsed = bpp.Bpp.parse(raw)
    assert [segment.value for segment in parsed.elements] == elements
    assert bool(parsed.replace_keys) == random_keys


def test_the_order_of_segments() -> None:
    eight = tlv.encode(0x88, b"m")
    raw = bpp.build(
        INITIALISE, [tlv.encode(0x87, b"c")], [eight, eight], [tlv.encode(0x86, b"e")], [tlv.encode(0x87, b"k")]
    )
    heads = [segment[:2].hex().upper() for segment in bpp.segments(raw)]
    assert heads == ["BF36", "A003", "A106", "8801", "8801", "A203", "A303", "8601"]
    assert [len(segment) for segment in bpp.segments(raw)[1:]] == [5, 2, 3, 3, 5, 2, 3]


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ("BF3700", "expected BF36, found BF37"),
        ("BF3600", "BF23 first"),
        ("BF3605BF2300A000", "expected A1, found the end"),
        ("BF3608BF2300A003880100", "expected 87, found 88"),
        ("BF360BBF2300A000A100A3008000", "expected the end, found 80"),
    ],
)
def test_packages_of_another_shape_are_refused(raw: str, complaint: str) -> None:
    data = bytes.fromhex(raw)
    with pytest.raises(CodecError, match=complaint):
        bpp.segments(tlv.encode(int(raw[:4], 16), data[3:]))


def test_what_smdp_sign_covers() -> None:
    members = bytes.fromhex("820101800101A60A80018881011084026470") + tlv.encode(0x5F49, b"\x04" * 65)
    initialise = tlv.parse(tlv.encode(0xBF23, members, tlv.encode(0x5F37, bytes(64))))
    assert bpp.signed_part(initialise, bytes(65)) == members + bytes.fromhex("5F4941") + bytes(65)
    with pytest.raises(CodecError, match="5F37 at its end"):
        bpp.signed_part(tlv.parse(INITIALISE), bytes(65))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_package_or_refused(data: bytes) -> None:
    for raw in (data, tlv.encode(0xBF36, INITIALISE, data)):
        try:
            assert b"".join(bpp.segments(raw)) == raw
        except CodecError:
            continue


EVENTS = st.lists(st.sampled_from(["install", "enable", "disable", "delete"]), min_size=1, max_size=4, unique=True)
NAMES = st.text(st.characters(max_codepoint=0x7F), max_size=32)


@given(
    st.builds(
        Metadata,
        st.binary(min_size=10, max_size=10),
        NAMES,
        NAMES,
        st.sampled_from(["test", "provisioning", "operational"]),
        notifications=st.lists(st.tuples(EVENTS, NAMES), max_size=3),
        icon=st.none() | st.binary(max_size=1024),
        owner=st.none() | st.tuples(st.binary(min_size=3, max_size=3), st.none() | st.binary(max_size=4), st.none()),
        policy_rules=st.lists(st.sampled_from(["pprUpdateControl", "ppr1", "ppr2"]), unique=True),
    )
)
def test_metadata_round_trips(metadata: Metadata) -> None:
    raw = metadata.encode()
    parsed = Metadata.parse(raw)
    assert parsed.encode() == raw
    assert (parsed.iccid, parsed.service_provider, parsed.profile_name) == (
        metadata.iccid,
        metadata.service_provider,
        metadata.profile_name,
    )
    assert [set(events) for events, _ in parsed.notifications] == [set(events) for events, _ in metadata.notifications]
    assert set(parsed.policy_rules) == set(metadata.policy_rules)


@given(st.binary(max_size=100))
def test_any_bytes_are_metadata_or_refused(data: bytes) -> None:
    for raw in (data, tlv.encode(0xBF25, data)):
        with contextlib.suppress(CodecError):
            Metadata.parse(raw)


def test_metadata_known_bytes() -> None:
    metadata = Metadata(ICCID, "S", "P")
    assert metadata.encode().hex().upper() == "BF25125A0A98001032547698103214910153920150"
    assert Metadata.parse(metadata.encode()) == metadata


def test_metadata_with_everything() -> None:
    metadata = Metadata(
        ICCID,
        "Provider",
        "Profile",
        "test",
        notifications=((("install", "delete"), "dp.example.com"), (("enable",), "x.example.com")),
        icon_type=1,
        icon=b"png",
        owner=(bytes.fromhex("00F110"), b"\x01", None),
        policy_rules=("ppr1",),
    )
    assert Metadata.parse(metadata.encode()) == metadata


def test_metadata_that_cannot_be() -> None:
    with pytest.raises(CodecError, match="profile class"):
        Metadata(ICCID, "S", "P", "personal").encode()
    with pytest.raises(CodecError, match="StoreMetadataRequest"):
        Metadata(ICCID, "S" * 33, "P").encode()
    with pytest.raises(CodecError):
        Metadata.parse(bytes.fromhex("BF250C5A0A98001032547698103214"))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("LPA:1$dp.example.com$ABC-1", ActivationCode("dp.example.com", "ABC-1")),
        ("1$dp.example.com$", ActivationCode("dp.example.com")),
        ("LPA:1$dp.example.com$A$2.999.10", ActivationCode("dp.example.com", "A", "2.999.10")),
        ("LPA:1$dp.example.com:8443$A$$1", ActivationCode("dp.example.com:8443", "A", None, True)),
        (" lpa:1$dp$A$1.3.6$1 ", ActivationCode("dp", "A", "1.3.6", True)),
    ],
)
def test_activation_codes(text: str, code: ActivationCode) -> None:
    assert ActivationCode.parse(text) == code
    assert ActivationCode.parse(str(code)) == code


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "expected LPA:1"),
        ("LPA:2$dp$A", "expected LPA:1"),
        ("LPA:1$dp", "3 to 5 fields"),
        ("LPA:1$dp$A$$2", "expected 1 or nothing"),
        ("LPA:1$d p$A", "host name"),
        ("LPA:1$dp$A B", "letters, digits"),
        ("LPA:1$dp$A$abc", "dotted numbers"),
        ("LPA:1$dp$" + "A" * 300, "too long"),
    ],
)
def test_what_is_no_activation_code(text: str, complaint: str) -> None:
    with pytest.raises(CodecError, match=complaint):
        ActivationCode.parse(text)


def test_requests_cross_the_json_binding() -> None:
    fields: dict[str, bytes | str] = {"euiccChallenge": bytes(16), "euiccInfo1": b"\xbf\x20\x00", "smdpAddress": "dp"}
    body = es9.encode_request("initiateAuthentication", fields)
    assert json.loads(body) == {"euiccChallenge": "AAAAAAAAAAAAAAAAAAAAAA==", "euiccInfo1": "vyAA", "smdpAddress": "dp"}
    assert es9.decode_request("initiateAuthentication", body) == fields


def test_transaction_ids_are_upper_case_hexadecimal() -> None:
    body = es9.encode_request("cancelSession", {"transactionId": b"\xab\xcd", "cancelSessionResponse": b"\1"})
    assert json.loads(body)["transactionId"] == "ABCD"
    lower = body.replace(b"ABCD", b"abcd")
    assert es9.decode_request("cancelSession", lower)["transactionId"] == b"\xab\xcd"


def test_a_failure_carries_subject_and_reason() -> None:
    body = es9.encode_failure(RspError("8.2.6", "3.8", "refused"))
    assert json.loads(body)["header"]["functionExecutionStatus"] == {
        "status": "Failed",
        "statusCodeData": {"subjectCode": "8.2.6", "reasonCode": "3.8", "message": "refused"},
    }
    with pytest.raises(RspError) as caught:
        es9.decode_response("authenticateClient", body)
    assert (caught.value.subject, caught.value.reason) == ("8.2.6", "3.8")


def test_a_success_of_a_server_without_header_is_understood() -> None:
    body = json.dumps({"transactionId": "01", "boundProfilePackage": "vzYA"}).encode()
    assert es9.decode_response("getBoundProfilePackage", body)["boundProfilePackage"] == bytes.fromhex("BF3600")


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "not JSON"),
        (b"[]", "expected an object, found list"),
        (b"\xff", "not UTF-8"),
        (b"{}", "field transactionId is missing"),
        (b'{"transactionId": 1, "cancelSessionResponse": "AQ=="}', "expected a string"),
        (b'{"transactionId": "0G", "cancelSessionResponse": "AQ=="}', "expected hexadecimal, found '0G'"),
        (b'{"transactionId": "00", "cancelSessionResponse": "A_=="}', "expected base64"),
        (b'{"transactionId": "00", "cancelSessionResponse": "AQ="}', "expected base64"),
        (b'{"transactionId": "00", "cancelSessionResponse": "A\\nQ=="}', "expected base64"),
        (b'{"transactionId": "", "cancelSessionResponse": "AQ=="}', "expected hexadecimal"),
        (b'{"a":' * 100_000, "JSON"),
    ],
)
def test_malformed_bodies(body: bytes, complaint: str) -> None:
    with pytest.raises(CodecError, match=complaint):
        es9.decode_request("cancelSession", body)


@given(st.binary(max_size=100))
def test_any_body_is_understood_or_refused(body: bytes) -> None:
    for function in es9.FUNCTIONS:
        for decode in (es9.decode_request, es9.decode_response):
            try:
                decode(function, body)
            except (CodecError, RspError):
                continue
