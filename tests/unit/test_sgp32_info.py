"""What SGP.32 adds to EUICCInfo2, ProfileInfo, metadata, the FCI and TERMINAL CAPABILITY."""

from dataclasses import replace

import pytest

from esim_bench.codec import tlv
from esim_bench.codec.es10_results import EuiccInfo2
from esim_bench.codec.iot_info import (
    IotEuiccInfo2,
    IotProfileMembers,
    IotSpecificInfo,
    IsdrConfiguration,
    claims_ipad,
    iot_profile_infos,
    terminal_capability,
)
from esim_bench.codec.metadata import Metadata
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import CodecError

MINIMAL = bytes.fromhex(
    "BF22 35 81 03 020301 82 03 020500 83 03 010000 84 00 85 02 0640 88 02 0780 A9 00 AA 00 04 03 010000 0C 01 78"
    "8D 02 0780 90 01 00 B4 07 A0 05 04 03 010200"
)
ICCID = bytes.fromhex("98001032547698103214")


def test_iot_specific_info_is_byte_for_byte_as_known() -> None:
    info = IotSpecificInfo(ecall=True, fallback=True)
    known = bytes.fromhex("30 0B A0 05 04 03 01 02 00 81 00 82 00")
    assert info.encode(tag=0x30) == known
    assert IotSpecificInfo.parse(tlv.parse(known)) == info
    assert info.encode() == b"\xb4" + known[1:]
    assert info.version_texts == ("1.2.0",)


def test_the_minimal_euicc_info2() -> None:
    info = EuiccInfo2.parse(MINIMAL)
    assert info.svn_text == "2.5.0"
    assert info.tre is not None
    assert info.tre.discrete
    iot = IotEuiccInfo2.parse(info)
    assert iot == IotEuiccInfo2(ipa_mode=0, iot=IotSpecificInfo())
    assert iot.ipa_mode_name == "ipad"
    without = IotEuiccInfo2().added_to(MINIMAL)
    assert IotEuiccInfo2.parse(without) == IotEuiccInfo2()
    assert iot.added_to(without) == iot.added_to(MINIMAL) == MINIMAL


def test_all_members_of_euicc_info2() -> None:
    iot = IotEuiccInfo2(
        ipa_mode=1,
        signing_v3=(b"\x01\x02",),
        additional_info=b"\x09",
        highest_svn=b"\x03\x00\x00",
        iot=IotSpecificInfo((b"\x01\x02\x00", b"\x01\x03\x00"), True, True, True),
        minimum_security_level=b"\x01",
    )
    known = "900101 B10404020102 920109 9303030000 B412 A00A 0403010200 0403010300 8100 8200 8300 950101"
    assert iot.encode(Version.V1_3) == bytes.fromhex(known)
    assert IotEuiccInfo2.parse(iot.added_to(MINIMAL, Version.V1_3)) == iot
    assert IotEuiccInfo2(ipa_mode=1).ipa_mode_name == "ipae"


@pytest.mark.parametrize(
    ("wrong", "version"),
    [
        (IotEuiccInfo2(minimum_security_level=b"\x01"), Version.V1_2),
        (IotEuiccInfo2(iot=IotSpecificInfo(fallback_allowed_update=True)), Version.V1_2),
        (IotEuiccInfo2(iot=IotSpecificInfo(ecall=True)), Version.V1_0_1),
        (IotEuiccInfo2(iot=IotSpecificInfo(())), Version.V1_2),
        (IotEuiccInfo2(ipa_mode=2), Version.V1_2),
    ],
)
def test_strict_in_sending(wrong: IotEuiccInfo2, version: Version) -> None:
    with pytest.raises(CodecError):
        wrong.encode(version)


def test_profiles_of_a_list() -> None:
    members = IotProfileMembers(ecall_indication=True, fallback_attribute=True, fallback_allowed=False)
    assert members.encode().hex() == "9f7b01ff9f2601ff9f670100"
    plain = tlv.encode(0xE3, tlv.encode(0x5A, ICCID), bytes.fromhex("9F700101"))
    first, second = iot_profile_infos(members.added_to(plain) + plain)
    assert (first.profile.iccid, first.profile.enabled, first.iot) == (ICCID, True, members)
    assert second.iot == IotProfileMembers()
    assert IotProfileMembers().added_to(members.added_to(plain)) == plain


def test_metadata() -> None:
    plain = Metadata(ICCID, "Operator", "Profile").encode()
    members = IotProfileMembers(fallback_allowed=True, iot_specific=bytes.fromhex("800101"))
    raw = members.added_to(plain)
    assert raw.hex().endswith("9f6701ffbf6403800101")
    assert IotProfileMembers.parse(raw) == members
    assert Metadata.parse(raw) == replace(Metadata.parse(plain), fallback_allowed=True)
    with pytest.raises(CodecError, match="expected BF25 or E3"):
        IotProfileMembers.parse(b"\x30\x00")


def test_what_selecting_the_isd_r_tells() -> None:
    configuration = IsdrConfiguration(ipae_supported=True, enabled_profile=True)
    assert configuration.encode().hex() == "e104800206c0"
    for fci in ("6F08 8400 E104800206C0", "6F0A 8400 A506 E104800206C0"):
        assert IsdrConfiguration.from_fci(bytes.fromhex(fci)) == configuration
    assert IsdrConfiguration.from_fci(bytes.fromhex("6F09 8400 E005 8203020500")) is None
    assert IsdrConfiguration().encode().hex() == "e103800100"
    assert IsdrConfiguration(enabled_profile=True).encode().hex() == "e10480020640"


def test_terminal_capability() -> None:
    assert terminal_capability().hex() == "a903840101"
    assert claims_ipad(terminal_capability())
    assert not claims_ipad(terminal_capability(ipad=False))
    assert not claims_ipad(bytes.fromhex("A9088100820101830107"))
