"""IpaEuiccData, ProfileDownloadTrigger, results with notifications, and compact forms, both directions."""

import pytest

from esim_bench.codec import compact, download_trigger, es10, ipa_data, tlv
from esim_bench.codec import esipa_objects as objects
from esim_bench.codec import euicc_package as package
from esim_bench.codec.download_trigger import ProfileDownloadTrigger, ProfileDownloadTriggerResult
from esim_bench.codec.ipa_data import IpaCapabilities, IpaEuiccData, IpaEuiccDataError, IpaEuiccDataRequest
from esim_bench.codec.notification_search import Search
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import CodecError

OLD = Version.V1_0_1
ICCID = bytes.fromhex("98001032547698103214")
SIGNATURE = bytes(64)
SIGNED = tlv.encode(0x5F37, SIGNATURE)
CERTIFICATE = bytes.fromhex("3008 3000 3000 03020001")
INFO1 = bytes.fromhex("BF2009 8203020500 A900 AA00")
METADATA = tlv.encode(0xBF2F, bytes.fromhex("800105 81020780 0C03612E62"), tlv.encode(0x5A, ICCID))
ENABLED = tlv.encode(0xBF2F, bytes.fromhex("800106 81020640 0C03612E62"), tlv.encode(0x5A, ICCID))
OTHER = tlv.encode(0x30, ENABLED, SIGNED, CERTIFICATE, CERTIFICATE)
EPR = package.unsigned_error("a")


def install_result(final: bytes) -> bytes:
    data = tlv.encode(0xBF27, bytes.fromhex("800101"), METADATA, bytes.fromhex("060388370A"), tlv.encode(0xA2, final))
    return tlv.encode(0xBF37, data, SIGNED)


INSTALLED = install_result(bytes.fromhex("A01D 4F10 A0000005591010FFFFFFFF8900001000 0409 3007A0053003800100"))
FAILED = install_result(bytes.fromhex("A106 800105 810105"))

# -------------------------------------------------------------------------------------------------------- IpaEuiccData


@pytest.mark.parametrize(
    ("request_", "known", "version"),
    [
        (IpaEuiccDataRequest((0xBF20, 0xA5)), "BF5205 5C03 BF20A5", Version.V1_2),
        (
            IpaEuiccDataRequest((0xA0, 0xA2), b"\x01\x02", Search(seq=5), 7, b"\x09"),
            "BF5215 5C02A0A2 04020102 A103800105 A203800107 830109",
            Version.V1_2,
        ),
        (
            IpaEuiccDataRequest((0xA0,), notifications=Search(events=("enable",))),
            "BF5209 5C01A0 A10481020640",
            Version.V1_2,
        ),
        (
            IpaEuiccDataRequest((0xBF2B,), notifications=Search(package_results=True)),
            "BF5208 5C02BF2B A1028200",
            OLD,
        ),
        (IpaEuiccDataRequest(()), "BF5202 5C00", Version.V1_2),
    ],
)
def test_requests(request_: IpaEuiccDataRequest, known: str, version: Version) -> None:
    raw = bytes.fromhex(known)
    assert request_.encode(version) == raw
    assert IpaEuiccDataRequest.parse(raw) == request_


def test_requests_of_another_version_are_not_sent() -> None:
    for wrong in (IpaEuiccDataRequest((), transaction_id=b"\x01"), IpaEuiccDataRequest((), package_results_seq=1)):
        with pytest.raises(CodecError, match=r"expected v1\.1"):
            wrong.encode(OLD)
    with pytest.raises(CodecError, match="found package results"):
        IpaEuiccDataRequest((), notifications=Search(package_results=True)).encode()


def test_tag_lists() -> None:
    assert IpaEuiccDataRequest(tuple(ipa_data.TAGS)).wrong_tags() == ()
    assert IpaEuiccDataRequest(tuple(ipa_data.TAGS_1_0)).wrong_tags(OLD) == ()
    # The EID and the list of profiles cannot be got this way.
    assert IpaEuiccDataRequest((0x5A, 0xBF20, 0xBF2D)).wrong_tags() == (0x5A, 0xBF2D)
    assert IpaEuiccDataRequest((0x80,)).wrong_tags() == (0x80,)
    with pytest.raises(CodecError, match="expected whole tags"):
        IpaEuiccDataRequest.parse(bytes.fromhex("BF5203 5C01BF"))


CAPABILITIES = IpaCapabilities(("directRspServerCommunication", "minimizeEsipaBytes"), ("ipaRetrieveHttps",))
DEVICE = es10.device_info(bytes(4))
EVERYTHING = IpaEuiccData(
    notifications=(OTHER, INSTALLED),
    default_smdp_address="a.b",
    package_results=(EPR,),
    euicc_info1=INFO1,
    root_smds_address="c.d",
    association_token=128,
    eum_certificate=CERTIFICATE,
    euicc_certificate=CERTIFICATE,
    transaction_id=b"\x09",
    capabilities=CAPABILITIES,
    device_info=DEVICE,
)


def test_members_of_the_data_are_their_tags() -> None:
    raw = EVERYTHING.encode()
    members = tlv.parse(raw).get(0xA0).children()
    assert [member.tag for member in members] == [
        0xA0, 0x81, 0xA2, 0xBF20, 0x83, 0x84, 0xA5, 0xA6, 0x87, 0xA8, 0xA9,
    ]  # fmt: skip
    assert {member.tag for member in members} < set(ipa_data.TAGS)
    by_tag = {member.tag: member.raw for member in members}
    assert by_tag[0xA5] == b"\xa5" + CERTIFICATE[1:]
    assert by_tag[0xA8] == bytes.fromhex("A808 80020284 81020780")
    assert by_tag[0xA9] == b"\xa9" + DEVICE[1:]
    assert ipa_data.parse_response(raw) == EVERYTHING
    assert ipa_data.parse_response(IpaEuiccData().encode()) == IpaEuiccData()


@pytest.mark.parametrize("notifications", [None, (OTHER,)])
@pytest.mark.parametrize("results", [None, (EPR,)])
def test_data_of_version_1_0(notifications: tuple[bytes, ...] | None, results: tuple[bytes, ...] | None) -> None:
    data = IpaEuiccData(notifications, "a.b", results, capabilities=CAPABILITIES)
    members = tlv.parse(data.encode(OLD)).get(0xA0).children()
    assert (members[0].tag, members[0].value) == (0x80, b"a.b")
    waiting = [member for member in members if member.tag == 0xBF2B]
    arms = {(True, False): 0xA0, (False, True): 0xA2, (True, True): 0xA3}
    arm = arms.get((notifications is not None, results is not None))
    assert [member.children()[0].tag for member in waiting] == ([arm] if arm else [])
    assert ipa_data.parse_response(data.encode(OLD)) == data
    with pytest.raises(CodecError, match="eimTransactionId"):
        EVERYTHING.encode(OLD)


@pytest.mark.parametrize("code", ipa_data.ERRORS)
def test_every_error_of_a_data_request(code: int) -> None:
    error = IpaEuiccDataError(code, b"\x09")
    assert error.encode() == bytes.fromhex("BF5208 A106 800109 0201") + bytes((code,))
    assert ipa_data.parse_response(error.encode()) == error
    assert error.name == ipa_data.ERRORS[code]
    if code != 104:
        assert IpaEuiccDataError(code).encode(OLD) == bytes.fromhex("BF5203 8101") + bytes((code,))
        assert ipa_data.parse_response(IpaEuiccDataError(code).encode(OLD)) == IpaEuiccDataError(code)
    else:
        with pytest.raises(CodecError, match="error code"):
            IpaEuiccDataError(code).encode(OLD)


def test_capabilities() -> None:
    newest = IpaCapabilities(ipa_data.FEATURES, ipa_data.PROTOCOLS, bytes.fromhex("800101"))
    assert newest.encode(Version.V1_3).hex() == "300d800202fc810203f8a203800101"
    assert IpaCapabilities.parse(tlv.parse(newest.encode(Version.V1_3))) == newest
    with pytest.raises(CodecError, match=r"expected v1\.3"):
        newest.encode()


# ----------------------------------------------------------------------------------------------------- download trigger

TRIGGERS = [
    (ProfileDownloadTrigger(), "BF5400"),
    (ProfileDownloadTrigger("1$a$b"), "BF5409 A007 8005 3124612462"),
    (ProfileDownloadTrigger(default_smdp=True), "BF5404 A002 8100"),
    (ProfileDownloadTrigger(smds=True), "BF5404 A002 A200"),
    (ProfileDownloadTrigger(smds=True, smds_address="a", transaction_id=b"\x01"), "BF540A A005 A203800161 820101"),
]


@pytest.mark.parametrize(("trigger", "known"), TRIGGERS)
def test_triggers(trigger: ProfileDownloadTrigger, known: str) -> None:
    assert trigger.encode() == bytes.fromhex(known)
    assert ProfileDownloadTrigger.parse(bytes.fromhex(known)) == trigger


def test_a_trigger_names_one_source() -> None:
    with pytest.raises(CodecError, match="at most one source"):
        ProfileDownloadTrigger("1$a$b", default_smdp=True).encode()
    with pytest.raises(CodecError, match="smdsAddress"):
        ProfileDownloadTrigger(smds_address="a").encode()


def test_trigger_result_is_byte_for_byte_as_known() -> None:
    known = bytes.fromhex("BF54 08 82 01 01 30 03 80 01 7F")
    result = ProfileDownloadTriggerResult(b"\x01", error_reason=127)
    assert result.encode() == known
    assert ProfileDownloadTriggerResult.parse(known) == result
    assert result.error_name == "undefinedError"


@pytest.mark.parametrize("reason", download_trigger.ERRORS)
def test_every_reason_of_a_failed_download(reason: int) -> None:
    result = ProfileDownloadTriggerResult(error_reason=reason, error_response=b"\x01\x02")
    assert result.encode() == bytes.fromhex(f"BF5409 3007 8001{reason:02X} 04020102")
    assert ProfileDownloadTriggerResult.parse(result.encode()) == result
    assert result.error_name == download_trigger.ERRORS[reason]


def test_trigger_results_of_both_versions() -> None:
    installed = ProfileDownloadTriggerResult(b"\x01", INSTALLED)
    assert tlv.parse(installed.encode()).get(0xBF37).raw == INSTALLED
    assert ProfileDownloadTriggerResult.parse(installed.encode()) == installed
    old = ProfileDownloadTriggerResult(error_response=b"\x01\x02")
    assert old.encode(OLD).hex() == "bf5406300480020102"
    assert ProfileDownloadTriggerResult.parse(old.encode(OLD), OLD) == old
    assert old.encode().hex() == "bf5409300780017f04020102"
    with pytest.raises(CodecError, match="found both"):
        ProfileDownloadTriggerResult(None, INSTALLED, 127).encode()


# ------------------------------------------------------------------------------------------------- results and receipts


def test_acknowledgements() -> None:
    assert objects.acknowledgements([1, 2]).hex() == "bf5306800101800102"
    assert objects.acknowledged(objects.acknowledgements([1, 200, 70000])) == (1, 200, 70000)
    with pytest.raises(CodecError, match="expected 80, found 81"):
        objects.acknowledged(bytes.fromhex("BF5303810101"))


@pytest.mark.parametrize("version", [OLD, Version.V1_2])
@pytest.mark.parametrize(
    "result",
    [
        objects.PackageResult(EPR),
        objects.PackageResult(EPR, (OTHER, INSTALLED)),
        objects.PackageResult(EPR, ()),
        IpaEuiccData(default_smdp_address="a"),
        IpaEuiccDataError(1),
        ProfileDownloadTriggerResult(b"\x01", INSTALLED),
        *(objects.PackageResultError(code) for code in objects.RESULT_ERRORS),
    ],
)
def test_results_of_eim_packages(result: objects.PackageResult, version: Version) -> None:
    assert objects.parse_package_result(result.encode(version), version) == result


def test_results_with_notifications_and_errors_differ_by_version() -> None:
    both = objects.PackageResult(EPR, (OTHER,))
    assert [one.tag for one in tlv.parse(both.encode()).children()] == [0xBF51, 0xA0]
    assert [one.tag for one in tlv.parse(both.encode(OLD)).children()] == [0xBF51, 0xBF2B]
    assert objects.PackageResultError(2, b"\x01").encode().hex() == "a006800101020102"
    assert objects.PackageResultError(2).encode(OLD).hex() == "020102"
    assert objects.PackageResultError(2).name == "unknownPackage"
    with pytest.raises(CodecError, match="expected 1, 2 or 127"):
        objects.PackageResultError(3).encode()
    with pytest.raises(CodecError, match="EimPackageResult"):
        objects.parse_package_result(b"\x04\x00")


# -------------------------------------------------------------------------------------------------------- compact forms


def test_compact_install_results_expand_to_what_was_signed() -> None:
    short = compact.InstallResult(SIGNATURE, b"\x01", 5, compact_aid=b"\x00\x10")
    assert short.encode() == bytes.fromhex("A053 A00E 800101 020105 A206 A004 4F020010 5F3740") + SIGNATURE
    assert objects.parse_notification(short.encode()) == short
    assert short.expanded("a.b", ICCID, "2.999.10") == INSTALLED
    failed = compact.InstallResult(SIGNATURE, b"\x01", 5, error=bytes.fromhex("800105810105"))
    assert objects.parse_notification(failed.encode()) == failed
    assert failed.expanded("a.b", ICCID, "2.999.10") == FAILED
    without = compact.InstallResult(SIGNATURE, b"\x01", 5, False, b"\x00\x10", b"\x30\x00")
    assert objects.parse_notification(without.encode()) == without
    with pytest.raises(CodecError, match="iccid"):
        short.expanded("a.b", None, "2.999.10")


@pytest.mark.parametrize("eid", [None, bytes(16)])
def test_compact_notifications_expand_to_what_was_signed(eid: bytes | None) -> None:
    short = compact.OtherNotification(SIGNATURE, ENABLED, eid)
    assert short.encode()[0] == 0xA1
    read = objects.parse_notification(short.encode())
    assert read == short
    assert (short.metadata.operation, short.metadata.seq) == ("enable", 6)
    assert short.expanded(CERTIFICATE, CERTIFICATE) == OTHER


def test_full_notifications_are_read_as_ever() -> None:
    assert objects.parse_notification(OTHER).raw == OTHER  # type: ignore[union-attr]
    with pytest.raises(CodecError, match="expected BF37 or 30"):
        objects.parse_notification(b"\x04\x00")


def test_compact_authentication() -> None:
    context = es10.ctx_params1("M", DEVICE)
    info2 = bytes.fromhex("BF2206 810102 840100")
    signed = tlv.encode(
        0x30, bytes.fromhex("800101 830161 8410"), bytes(16), bytes.fromhex("BF2206 810102 840109"), context
    )
    full = tlv.encode(0xBF38, tlv.encode(0xA0, signed, SIGNED, CERTIFICATE, CERTIFICATE))
    known = {
        "transaction": b"\x01",
        "server_address": "a",
        "server_challenge": bytes(16),
        "info2": info2,
        "euicc_certificate": CERTIFICATE,
        "eum_certificate": CERTIFICATE,
    }
    short = compact.AuthenticateResponse(SIGNATURE, ext_card_resource=b"\x09", ctx_params1=context)
    assert compact.AuthenticateResponse.parse(short.encode()) == short
    assert compact.is_compact(short.encode())
    assert not compact.is_compact(full)
    assert short.expanded(**known) == full  # type: ignore[arg-type]
    shortest = compact.AuthenticateResponse(SIGNATURE, ext_card_resource=b"\x09")
    assert shortest.expanded(**known, ctx_params1=context) == full  # type: ignore[arg-type]
    with pytest.raises(CodecError, match="ctxParams1"):
        shortest.expanded(**known)  # type: ignore[arg-type]
    whole = compact.AuthenticateResponse(SIGNATURE, signed, None, None, CERTIFICATE, CERTIFICATE)
    assert compact.AuthenticateResponse.parse(whole.encode()) == whole
    assert whole.expanded(**known) == full  # type: ignore[arg-type]


def test_compact_download_and_cancellation() -> None:
    key, code_hash = bytes(65), bytes(range(32))
    short = compact.DownloadResponse(SIGNATURE, key)
    assert compact.DownloadResponse.parse(short.encode()) == short
    signed = tlv.encode(0x30, b"\x80\x01\x01", tlv.encode(0x5F49, key), tlv.encode(0x04, code_hash))
    assert short.expanded(b"\x01", hash_cc=code_hash) == tlv.encode(0xBF21, tlv.encode(0xA0, signed, SIGNED))
    empty = compact.DownloadResponse(SIGNATURE)
    assert empty.expanded(b"\x01", key, code_hash) == short.expanded(b"\x01", hash_cc=code_hash)
    with pytest.raises(CodecError, match="euiccOtpk"):
        empty.expanded(b"\x01")
    cancel = compact.CancelResponse(SIGNATURE, 3)
    assert compact.CancelResponse.parse(cancel.encode()) == cancel
    assert cancel.expanded(b"\x01", "2.999.10") == tlv.encode(
        0xBF41, tlv.encode(0xA0, bytes.fromhex("300B 800101 810388370A 820103"), SIGNED)
    )
