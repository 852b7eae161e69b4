"""EimConfigurationData: the known bytes, keys and certificates, versions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.codec.eim_configuration import (
    GENERATE_TOKEN,
    PROTOCOLS,
    EimConfigurationData,
    EimIdInfo,
    KeyData,
)
from esim_bench.codec.sgp32 import Version
from esim_bench.codec.tlv import encode, parse
from esim_bench.errors import CodecError

ALGORITHM = bytes.fromhex("301306072A8648CE3D020106082A8648CE3D030107")
KEY = encode(0x30, ALGORITHM, encode(0x03, bytes.fromhex("0004"), bytes(64)))
CERTIFICATE = bytes.fromhex("3008 3000 3000 03020001")
OLD = Version.V1_0_1


def test_configuration_is_byte_for_byte_as_known() -> None:
    known = bytes.fromhex("30 13 80 01 61 81 01 62 82 01 02 83 01 01 84 01 FF 87 02 07 80")
    data = EimConfigurationData("a", "b", 2, 1, GENERATE_TOKEN, protocols=("eimRetrieveHttps",))
    assert data.encode() == known
    assert EimConfigurationData.parse(known) == data
    assert data.id_type_name == "eimIdTypeFqdn"


def test_the_tag_of_the_choice_replaces_that_of_the_key() -> None:
    member = EimConfigurationData("a", public_key=KeyData(KEY)).encode()[5:]
    assert member[:8] == bytes.fromhex("A55BA05930130607")
    assert member == bytes.fromhex("A55B A059") + KEY[2:]
    assert EimConfigurationData.parse(bytes.fromhex("3060800161") + member).public_key == KeyData(KEY)


def test_certificates_come_back_with_their_tag() -> None:
    data = EimConfigurationData("a", public_key=KeyData(CERTIFICATE, True), tls_key=KeyData(CERTIFICATE, True))
    assert data.encode() == bytes.fromhex("301B 800161 A50A A108 3000 3000 03020001 A60A A108 3000 3000 03020001")
    assert EimConfigurationData.parse(data.encode()) == data


@pytest.mark.parametrize(
    ("member", "what"),
    [
        ("A5083006300003020001", "expected A0 or A1, found 30"),
        ("A50AA008300630000302 0001", "no public key"),
        ("A508A106300003020001", "no certificate"),
        ("A500", "wrong choice"),
    ],
)
def test_a_key_with_its_own_tag_is_refused(member: str, what: str) -> None:
    with pytest.raises(CodecError, match=what):
        EimConfigurationData.parse(encode(0x30, bytes.fromhex("800161"), bytes.fromhex(member)))


def test_only_keys_and_certificates_are_sent_as_such() -> None:
    with pytest.raises(CodecError, match="no public key"):
        EimConfigurationData("a", public_key=KeyData(CERTIFICATE)).encode()
    with pytest.raises(CodecError, match="no certificate"):
        EimConfigurationData("a", tls_key=KeyData(KEY, True)).encode()


def test_versions() -> None:
    indirect = EimConfigurationData("a", indirect_download=True)
    assert indirect.encode().hex() == "30058001618900"
    with pytest.raises(CodecError, match=r"expected v1.1 or later, found 1.0.1"):
        indirect.encode(OLD)
    proprietary = EimConfigurationData("a", proprietary=bytes.fromhex("800101"))
    assert proprietary.encode(Version.V1_3).hex() == "3008800161aa03800101"
    assert EimConfigurationData.parse(proprietary.encode(Version.V1_3)) == proprietary
    with pytest.raises(CodecError, match=r"expected v1.3"):
        proprietary.encode()
    assert EimIdInfo("a", 1).encode().hex() == "3006800161820101"
    assert EimIdInfo("a", 1).encode(OLD).hex() == "3006800161840101"


def test_bits_may_be_written_at_full_length() -> None:
    data = EimConfigurationData.parse(bytes.fromhex("3008 800161 870303 8008"))
    assert data.protocols == ("eimRetrieveHttps",)
    assert EimConfigurationData("a", protocols=()).encode().hex() == "3006800161870100"


@pytest.mark.parametrize(
    "wrong",
    [
        EimConfigurationData(""),
        EimConfigurationData("é" * 65),
        EimConfigurationData("\ud800"),
        EimConfigurationData("a", id_type=4),
        EimConfigurationData("a", protocols=("smoke",)),
        EimConfigurationData("a", ci_pk_id=b""),
    ],
)
def test_strict_in_sending(wrong: EimConfigurationData) -> None:
    with pytest.raises(CodecError):
        wrong.encode()


@pytest.mark.parametrize("text", ["1.0.1", "1.2", "1.3"])
def test_versions_have_texts(text: str) -> None:
    assert Version.from_text(text).text == text
    with pytest.raises(CodecError, match=r"expected 1.0.1, 1.2, 1.3"):
        Version.from_text("1.1.9")


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=32)


@given(
    st.builds(
        EimConfigurationData,
        eim_id=texts,
        fqdn=st.none() | texts,
        id_type=st.none() | st.integers(1, 3),
        counter=st.none() | st.integers(0, 2**63),
        association_token=st.none() | st.integers(-1, 2**63),
        public_key=st.sampled_from([None, KeyData(KEY), KeyData(CERTIFICATE, True)]),
        tls_key=st.sampled_from([None, KeyData(KEY), KeyData(CERTIFICATE, True)]),
        protocols=st.none() | st.sets(st.sampled_from(PROTOCOLS)).map(lambda s: tuple(p for p in PROTOCOLS if p in s)),
        ci_pk_id=st.none() | st.binary(min_size=1, max_size=20),
        indirect_download=st.booleans(),
        proprietary=st.none() | st.just(b"\x80\x00"),
    )
)
def test_configurations_survive(data: EimConfigurationData) -> None:
    raw = data.encode(Version.V1_3)
    assert EimConfigurationData.parse(raw) == data
    assert EimConfigurationData.from_tlv(parse(data.encode(Version.V1_3, 0xA8))) == data
