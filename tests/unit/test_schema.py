"""ASN.1: exactly one object, test OIDs, later versions' members; and nothing but CodecError for bad input."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.codec import schema, tlv
from esim_bench.codec.schema import RSP, SAIP, Schema
from esim_bench.errors import CodecError

EUICC_INFO2 = bytes.fromhex(
    "BF223581030203018203020500830301000084008502064088020780A900AA0004030100000C01788D020780900100B407A0050403010200"
)
METADATA = bytes.fromhex("BF25125A0A98001032547698103214910153920150")
ENABLE = bytes.fromhex("BF3111A00C5A0A980010325476981032148101FF")
INITIALISE = tlv.encode(
    0xBF23,
    bytes.fromhex("820101"),
    bytes.fromhex("800101"),
    bytes.fromhex("A60A80018881011084026470"),
    tlv.encode(0x5F49, bytes(65)),
    tlv.encode(0x5F37, bytes(64)),
)
SAMPLES = [
    ("EUICCInfo2", EUICC_INFO2),
    ("StoreMetadataRequest", METADATA),
    ("EnableProfileRequest", ENABLE),
    ("InitialiseSecureChannelRequest", INITIALISE),
    ("ConfigureISDPRequest", bytes.fromhex("BF2407B805800388370A")),
    ("ReplaceSessionKeysRequest", tlv.encode(0xBF26, *(tlv.encode(tag, bytes(16)) for tag in (0x80, 0x81, 0x82)))),
]


@pytest.mark.parametrize(("name", "raw"), SAMPLES, ids=[name for name, _ in SAMPLES])
def test_samples_decode_and_what_they_hold_encodes_to_the_same_bytes(name: str, raw: bytes) -> None:
    value = RSP.decode(name, raw)
    if name != "EUICCInfo2":  # its SGP.32 members are passed over
        assert RSP.encode(name, value) == raw


def test_values_are_those_of_asn1tools() -> None:
    assert RSP.decode("EnableProfileRequest", ENABLE) == {
        "profileIdentifier": ("iccid", bytes.fromhex("98001032547698103214")),
        "refreshFlag": True,
    }


def test_members_of_later_versions_are_passed_over() -> None:
    info = RSP.decode("EUICCInfo2", EUICC_INFO2)
    assert info["treProperties"] == (b"\x80", 1)
    later = tlv.encode(0xBF25, METADATA[3:], bytes.fromhex("9F7B01FF"), bytes.fromhex("BF640480020102"))
    assert RSP.decode("StoreMetadataRequest", later)["profileName"] == "P"
    device = bytes.fromhex("3013" + "800435290611" + "A103" + "8D0100" + "8600" + "A7040102" + "0304")
    assert RSP.decode("DeviceInfo", device)["deviceCapabilities"] == {"euiccFormFactorType": 0}


@pytest.mark.parametrize(
    ("oid", "content"),
    [
        ("2.999.10", "88370A"),
        ("2.23.143.1.2.1", "67810F010201"),
        ("1.3.6.1.4.1", "2B06010401"),
        ("0.9", "09"),
        ("2.47", "7F"),
    ],
)
def test_object_identifiers(oid: str, content: str) -> None:
    raw = tlv.encode(0xBF24, tlv.encode(0xB8, tlv.encode(0x80, bytes.fromhex(content))))
    assert RSP.decode("ConfigureISDPRequest", raw) == {"dpProprietaryData": {"dpOid": oid}}
    assert RSP.encode("ConfigureISDPRequest", {"dpProprietaryData": {"dpOid": oid}}) == raw


@pytest.mark.parametrize("content", ["", "88", "2B86"])
def test_truncated_object_identifiers_are_refused(content: str) -> None:
    raw = tlv.encode(0xBF24, tlv.encode(0xB8, tlv.encode(0x80, bytes.fromhex(content))))
    with pytest.raises(CodecError, match="ConfigureISDPRequest"):
        RSP.decode("ConfigureISDPRequest", raw)


@pytest.mark.parametrize(("name", "raw"), SAMPLES, ids=[name for name, _ in SAMPLES])
def test_every_truncation_is_refused(name: str, raw: bytes) -> None:
    for length in range(len(raw)):
        with pytest.raises(CodecError):
            RSP.decode(name, raw[:length])


@pytest.mark.parametrize(("name", "raw"), SAMPLES, ids=[name for name, _ in SAMPLES])
def test_bytes_after_the_object_are_refused(name: str, raw: bytes) -> None:
    with pytest.raises(CodecError, match="1 bytes after the end"):
        RSP.decode(name, raw + b"\x00")


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("EnableProfileRequest", "BF3111A00C5A0D980010325476981032148101FF"),
        ("StoreMetadataRequest", "BF25145A0A98001032547698103214910153920150B601"),
    ],
)
def test_an_object_that_is_longer_than_the_one_around_it_is_refused(name: str, raw: str) -> None:
    with pytest.raises(CodecError, match=f"{name}: truncated"):
        RSP.decode(name, bytes.fromhex(raw))


@pytest.mark.parametrize(
    ("name", "raw", "complaint"),
    [
        ("StoreMetadataRequest", "BF25115A0998001032547698103291015392 0150".replace(" ", ""), "iccid"),
        ("EnableProfileRequest", "BF3203800100", "EnableProfileRequest"),
        ("GetEuiccDataResponse", "BF3E035A0100", "eidValue"),
    ],
)
def test_the_complaint_names_type_or_member(name: str, raw: str, complaint: str) -> None:
    with pytest.raises(CodecError, match=complaint):
        RSP.decode(name, bytes.fromhex(raw))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EnableProfileRequest", {"refreshFlag": True}),
        ("EnableProfileRequest", {"profileIdentifier": ("iccid", b"\x01"), "refreshFlag": True}),
        ("EnableProfileRequest", {"profileIdentifier": ("name", b"\x01"), "refreshFlag": True}),
        ("EnableProfileRequest", None),
        ("SetNicknameRequest", {"iccid": bytes(10), "profileNickname": "x" * 65}),
    ],
)
def test_values_that_cannot_be_encoded_are_refused(name: str, value: Any) -> None:
    with pytest.raises(CodecError, match=name):
        RSP.encode(name, value)


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(CodecError, match=r"no such ASN\.1 type.*'Nonsense'"):
        RSP.decode("Nonsense", b"\x30\x00")


def test_oversized_input_is_refused_before_it_is_looked_at() -> None:
    with pytest.raises(CodecError, match="too long"):
        RSP.decode("EUICCInfo2", bytes(schema.MAX_MESSAGE + 1))


RSP_TYPES = st.sampled_from(
    [name for name, _ in SAMPLES] + ["ProfileInfoListResponse", "GetRatResponse", "ServerSigned1"]
)


@given(RSP_TYPES, st.binary(max_size=120))
def test_any_bytes_decode_or_are_refused(name: str, data: bytes) -> None:
    with contextlib.suppress(CodecError):
        RSP.decode(name, data)


@given(st.sampled_from(SAMPLES), st.integers(0, 200), st.integers(1, 255))
def test_a_changed_byte_decodes_or_is_refused(sample: tuple[str, bytes], position: int, flip: int) -> None:
    name, raw = sample
    changed = bytearray(raw)
    changed[position % len(raw)] ^= flip
    with contextlib.suppress(CodecError):
        RSP.decode(name, bytes(changed))


@given(st.integers(0, 255).filter(lambda tag: tag & 0x1F != 0x1F), st.binary(max_size=60))
def test_profile_elements_never_hang_on_foreign_bytes(tag: int, body: bytes) -> None:
    with contextlib.suppress(CodecError):
        SAIP.decode("ProfileElement", tlv.encode(tag, body))


def test_the_compiled_modules_are_cached_and_a_broken_cache_costs_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "user_cache_dir", lambda _: str(tmp_path))
    assert Schema("rsp").decode("EnableProfileRequest", ENABLE)["refreshFlag"] is True
    (cached,) = (tmp_path / "asn1").iterdir()
    cached.write_bytes(b"not a pickle")
    assert Schema("rsp").decode("EnableProfileRequest", ENABLE)["refreshFlag"] is True
    monkeypatch.setattr(schema, "user_cache_dir", lambda _: "/dev/null/nowhere")
    assert Schema("rsp").decode("EnableProfileRequest", ENABLE)["refreshFlag"] is True
