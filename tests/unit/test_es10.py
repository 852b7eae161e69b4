"""ES10: request bytes that are known to be right, answers as values, one line for people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.codec import es10, tlv
from esim_bench.codec.identifiers import iccid_to_bytes, iccid_to_text, imsi_to_bytes, imsi_to_text, swap_nibbles
from esim_bench.codec.schema import RSP
from esim_bench.errors import CodecError

ICCID = bytes.fromhex("98001032547698103214")
AID = bytes.fromhex("A0000005591010FFFFFFFF8900001000")

KNOWN_REQUESTS = [
    (es10.enable_profile(ICCID, True), "BF3111A00C5A0A980010325476981032148101FF"),
    (es10.enable_profile(AID, False), "BF3117A0124F10A0000005591010FFFFFFFF8900001000810100"),
    (es10.disable_profile(ICCID, True), "BF3211A00C5A0A980010325476981032148101FF"),
    (es10.delete_profile(ICCID), "BF330C5A0A98001032547698103214"),
    (es10.delete_profile(AID), "BF33124F10A0000005591010FFFFFFFF8900001000"),
    (es10.get_eid(), "BF3E035C015A"),
    (es10.get_profiles_info(tags=bytes.fromhex("5A9F70")), "BF2D055C035A9F70"),
    (es10.get_profiles_info(), "BF2D00"),
    (es10.get_profiles_info(search=2), "BF2D05A003950102"),
    (es10.cancel_session(b"\x01", 0), "BF4106800101810100"),
    (es10.list_notifications(), "BF2800"),
    (es10.list_notifications(["install"]), "BF280481020780"),
    (es10.list_notifications(["delete"]), "BF280481020410"),
    (es10.retrieve_notifications(5), "BF2B05A003800105"),
    (es10.retrieve_notifications(128), "BF2B06A00480020080"),
    (es10.retrieve_notifications(), "BF2B00"),
    (es10.remove_notification(0), "BF3003800100"),
    (es10.get_euicc_challenge(), "BF2E00"),
    (es10.get_euicc_info1(), "BF2000"),
    (es10.get_euicc_info2(), "BF2200"),
    (es10.get_euicc_configured_addresses(), "BF3C00"),
    (es10.set_default_dp_address(""), "BF3F028000"),
    (es10.get_rat(), "BF4300"),
    (es10.set_nickname(ICCID, "x"), "BF290F5A0A98001032547698103214900178"),
    (es10.memory_reset(operational=True), "BF340482020580"),
]


@pytest.mark.parametrize(("request_bytes", "known"), KNOWN_REQUESTS, ids=[known[:10] for _, known in KNOWN_REQUESTS])
def test_requests_are_byte_for_byte_as_known(request_bytes: bytes, known: str) -> None:
    assert request_bytes.hex().upper() == known


def test_parts_as_received_go_into_authenticate_server_unchanged() -> None:
    signed, signature = bytes.fromhex("3003800101"), tlv.encode(0x5F37, bytes(64))
    key_id, certificate = tlv.encode(0x04, bytes(20)), bytes.fromhex("3003020105")
    device = es10.device_info(bytes.fromhex("35290611"), form_factor_type=1)
    context = es10.ctx_params1("MATCH", device)
    request = es10.authenticate_server(signed, signature, key_id, certificate, context)
    assert [child.raw for child in tlv.parse(request).children()] == [signed, signature, key_id, certificate, context]
    value = RSP.decode("CtxParams1", context)
    assert value[1]["matchingId"] == "MATCH"
    assert value[1]["deviceInfo"]["tac"].hex() == "35290611"
    assert value[1]["deviceInfo"]["deviceCapabilities"]["euiccFormFactorType"] == 1
    with pytest.raises(CodecError, match="expected 5F37, found 5F38"):
        es10.authenticate_server(signed, tlv.encode(0x5F38, bytes(64)), key_id, certificate, context)


def test_device_info_form_factor_type_is_member_8d() -> None:
    device = es10.device_info(bytes(4), form_factor_type=0, capabilities={"gsmSupportedRelease": b"\x05\0\0"})
    assert device.hex().upper() == "300E800400000000A10680030500008D0100".replace("300E", "3010").replace(
        "A106", "A108"
    )


def test_profile_list() -> None:
    response = bytes.fromhex(
        "BF2D35A033E3315A0A98001032547698103214"
        "4F10A0000005591010FFFFFFFF89000010009F7001019104424E4348920454657374950100"
    )
    (profile,) = es10.profile_infos(response)
    assert profile.iccid == ICCID
    assert profile.isdp_aid == AID
    assert (profile.state_name, profile.class_name) == ("enabled", "test")
    assert (profile.service_provider, profile.profile_name) == ("BNCH", "Test")
    assert es10.profile_infos(bytes.fromhex("BF2D02A000")) == []
    with pytest.raises(CodecError, match="error 127"):
        es10.profile_infos(bytes.fromhex("BF2D0381017F"))


def test_euicc_info2_of_a_minimal_iot_euicc() -> None:
    info = es10.EuiccInfo2.parse(
        bytes.fromhex(
            "BF22358103020301820302050083030100008400850206408802"
            "0780A900AA0004030100000C01788D020780900100B407A0050403010200"
        )
    )
    assert info.svn_text == "2.5.0"
    assert info.tre == es10.TreProperties(discrete=True, integrated=False, uses_remote_memory=False)
    assert info.document()["tre_properties"] == ["discrete"]


def test_free_memory_is_found_in_the_extended_card_resources() -> None:
    resources = bytes.fromhex("810108820400045BF883022419")
    members = {"extCardResource": resources}
    assert es10.EuiccInfo2(b"", members).free_memory == 0x45BF8


def install_result(final: str) -> bytes:
    metadata = tlv.encode(
        0xBF2F, bytes.fromhex("800105"), bytes.fromhex("81020780"), tlv.encode(0x0C, b"a.b"), tlv.encode(0x5A, ICCID)
    )
    data = tlv.encode(
        0xBF27,
        bytes.fromhex("800101"),
        metadata,
        bytes.fromhex("06038837 0A".replace(" ", "")),
        tlv.encode(0xA2, bytes.fromhex(final)),
    )
    return tlv.encode(0xBF37, data, tlv.encode(0x5F37, bytes(64)))


def test_install_result_of_success() -> None:
    final = "A01D" + "4F10" + AID.hex() + "0409" + "3007A0053003800100"
    result = es10.InstallResult.parse(install_result(final))
    assert result.success
    assert result.isdp_aid == AID
    assert result.smdp_oid == "2.999.10"
    assert result.metadata == es10.NotificationMetadata(5, "install", "a.b", ICCID)
    assert tlv.parse(result.signed).tag == 0xBF27


def test_install_result_of_failure() -> None:
    result = es10.InstallResult.parse(install_result("A106" + "800105" + "81010C"))
    assert not result.success
    assert (result.command, result.reason) == ("loadProfileElements", "installFailedDueToPEProcessingError")


def test_pending_notifications_keep_their_bytes() -> None:
    other = tlv.encode(
        0x30,
        tlv.encode(0xBF2F, bytes.fromhex("80020080"), bytes.fromhex("81020640"), tlv.encode(0x0C, b"a.b")),
        tlv.encode(0x5F37, bytes(64)),
        bytes.fromhex("3000"),
        bytes.fromhex("3000"),
    )
    pir = install_result("A106" + "800105" + "81010C")
    first, second = es10.pending_notifications(tlv.encode(0xBF2B, tlv.encode(0xA0, other, pir)))
    assert (first.raw, first.seq, first.operation, first.is_install_result) == (other, 128, "enable", False)
    assert (second.raw, second.seq, second.is_install_result) == (pir, 5, True)
    assert es10.pending_notifications(bytes.fromhex("BF2B02A000")) == []
    assert es10.pending_notifications(bytes.fromhex("BF2B03810101")) == []


@pytest.mark.parametrize(
    ("request_bytes", "response", "line"),
    [
        (es10.enable_profile(ICCID, True), "BF3103800100", "ES10c.EnableProfile 89000123456789012341 -> ok"),
        (es10.enable_profile(ICCID, True), "BF3103800105", "ES10c.EnableProfile 89000123456789012341 -> catBusy"),
        (
            es10.delete_profile(ICCID),
            "BF3303800102",
            "ES10c.DeleteProfile 89000123456789012341 -> profileNotInDisabledState",
        ),
        (
            es10.get_eid(),
            "BF3E125A1089049032123451234512345678901235",
            "ES10c.GetEID -> 89049032123451234512345678901235",
        ),
        (es10.remove_notification(3), "BF3003800101", "ES10b.RemoveNotificationFromList 3 -> nothingToDelete"),
        (es10.cancel_session(b"\1", 0), "BF4103810105", "ES10b.CancelSession -> invalidTransactionId"),
        (es10.get_euicc_challenge(), "", "ES10b.GetEuiccChallenge -> no data"),
        (b"\xbf\x7f\x00", "", "STORE DATA BF7F"),
    ],
)
def test_one_line_for_people(request_bytes: bytes, response: str, line: str) -> None:
    assert es10.describe(request_bytes, bytes.fromhex(response)) == line


@given(st.binary(max_size=60), st.none() | st.binary(max_size=60))
def test_describe_never_raises(request_bytes: bytes, response: bytes | None) -> None:
    assert es10.describe(request_bytes, response)


@given(st.sampled_from(sorted(es10.FUNCTIONS)), st.binary(max_size=80))
def test_malformed_answers_are_codec_errors(tag: int, body: bytes) -> None:
    response = tlv.encode(tag, body)
    parsers = (
        es10.profile_infos, es10.notification_list, es10.pending_notifications, es10.result_code,
        es10.EuiccInfo2.parse, es10.InstallResult.parse, es10.eid, es10.challenge, es10.error_code,
        es10.authorisation_table,
    )  # fmt: skip
    for parser in parsers:
        try:
            parser(response)
        except CodecError:
            continue


def test_rules_authorisation_table() -> None:
    # ppr1 and ppr2 for MCC 001, any MNC, GID1 01; consent required.
    entry = bytes.fromhex("3016 80020560 A10C 300A 8003 00F1EE 8101 01 8200 8202 0780".replace(" ", ""))
    (rule,) = es10.authorisation_table(tlv.encode(0xBF43, tlv.encode(0xA0, entry)))
    assert rule == es10.AuthorisationRule(("ppr1", "ppr2"), ((bytes.fromhex("00F1EE"), b"\x01", b""),), True)
    assert rule.allows("ppr1", (bytes.fromhex("00F110"), b"\x01", b"\x99"))
    assert not rule.allows("pprUpdateControl", (bytes.fromhex("00F110"), b"\x01", None))
    assert not rule.allows("ppr1", (bytes.fromhex("02F110"), b"\x01", None))
    assert not rule.allows("ppr1", (bytes.fromhex("00F110"), None, None))
    assert not rule.allows("ppr1", None)


def test_each_function_is_named_with_its_interface() -> None:
    assert es10.FUNCTIONS[0xBF31].name == "ES10c.EnableProfile"
    assert all(function.name.startswith(("ES10a.", "ES10b.", "ES10c.")) for function in es10.FUNCTIONS.values())


def test_iccid_and_imsi_texts() -> None:
    assert iccid_to_text(ICCID) == "89000123456789012341"
    assert iccid_to_bytes("89000123456789012341") == ICCID
    assert iccid_to_text(iccid_to_bytes("8900012345678901234")) == "8900012345678901234"
    assert swap_nibbles(bytes.fromhex("89000123456789012341")) == ICCID
    assert imsi_to_text(bytes.fromhex("080910101032540636")) == "001010123456063"
    assert imsi_to_bytes("001010123456063").hex() == "080910101032540636"
    for bad in (b"", bytes(9), b"\xff" * 9):
        with pytest.raises(CodecError):
            imsi_to_text(bad)


@given(st.text("0123456789", min_size=6, max_size=15))
def test_any_imsi_round_trips(digits: str) -> None:
    assert imsi_to_text(imsi_to_bytes(digits)) == digits


def test_test_oids_decode_right() -> None:
    assert (
        RSP.decode("ConfigureISDPRequest", bytes.fromhex("BF2407B805800388370A"))["dpProprietaryData"]["dpOid"]
        == "2.999.10"
    )
