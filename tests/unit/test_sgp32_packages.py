"""eUICC Packages of SGP.32: the known bytes, every operation, every result and code, both directions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.codec import es10, tlv
from esim_bench.codec import euicc_package as package
from esim_bench.codec.eim_configuration import EimConfigurationData, EimIdInfo, KeyData
from esim_bench.codec.euicc_operations import (
    AddEim,
    ConfigureImmediateEnable,
    Delete,
    DeleteEim,
    Disable,
    Enable,
    GetRat,
    ListEim,
    ListProfileInfo,
    SetDefaultDpAddress,
    SetFallbackAttribute,
    UnknownOperation,
    UnsetFallbackAttribute,
    UpdateEim,
)
from esim_bench.codec.euicc_results import (
    RESULTS,
    UNKNOWN,
    OperationResult,
    profile_list_result,
    result_names,
    rules_result,
)
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import CodecError

ICCID = bytes.fromhex("98001032547698103214")
EID = bytes.fromhex("89049032123451234512345678901235")
SIGNATURE = bytes(range(64))
EIM = EimConfigurationData("testeim1", counter=1, public_key=KeyData(bytes.fromhex("30063000 03020001")))
OLD = Version.V1_0_1

KNOWN_PSMOS = [
    (Enable(ICCID), "A30C 5A0A 98001032547698103214"),
    (Enable(ICCID, rollback=True), "A30E 5A0A 98001032547698103214 0500"),
    (Disable(ICCID), "A40C 5A0A 98001032547698103214"),
    (Delete(ICCID), "A50C 5A0A 98001032547698103214"),
    (ListProfileInfo(), "BF2D00"),
    (ListProfileInfo(es10.get_profiles_info(tags=b"\x5a\x9f\x70")), "BF2D05 5C03 5A9F70"),
    (GetRat(), "A600"),
    (ConfigureImmediateEnable(True), "A702 8000"),
    (ConfigureImmediateEnable(False, "2.999.10", "a.b"), "A70A 8103 88370A 8203 612E62"),
    (SetFallbackAttribute(ICCID), "A80C 5A0A 98001032547698103214"),
    (UnsetFallbackAttribute(), "A900"),
    (SetDefaultDpAddress("a.b"), "BF6505 8003 612E62"),
]
KNOWN_ECOS = [
    (AddEim(EIM), "A817 8008 7465737465696D31 830101 A508 A006 3000 03020001"),
    (DeleteEim("a"), "A903 800161"),
    (UpdateEim(EimConfigurationData("a", counter=128)), "AA07 800161 83020080"),
    (ListEim(), "AB00"),
]


def ids(known: list) -> list[str]:
    return [f"{operation.NAME}-{index}" for index, (operation, _) in enumerate(known)]


def request(operations: list, **kwargs: object) -> bytes:
    signed = package.package_signed("testeim1", EID, 1, operations, **kwargs)  # type: ignore[arg-type]
    return package.package_request(signed, SIGNATURE)


# -------------------------------------------------------------------------------------------------------------- request


def test_a_signed_package_is_byte_for_byte_as_known() -> None:
    signed = package.package_signed("testeim1", EID, 1, [Enable(ICCID)])
    assert signed.hex().upper() == (
        "302F80087465737465696D315A10" + EID.hex().upper() + "810101A00EA30C5A0A" + ICCID.hex().upper()
    )
    read = package.EuiccPackageRequest.parse(package.package_request(signed, SIGNATURE))
    assert (read.eim_id, read.eid, read.counter, read.transaction_id) == ("testeim1", EID, 1, None)
    assert read.operations == (Enable(ICCID),)
    assert (read.signed_raw, read.signature) == (signed, SIGNATURE)


@pytest.mark.parametrize(
    ("token", "end"),
    [(None, "840100"), (0, "840100"), (1, "840101"), (127, "84017F"), (128, "84020080"), (255, "840200FF"),
     (65536, "8403010000")],
)  # fmt: skip
def test_signatures_are_over_the_signed_part_and_the_token(token: int | None, end: str) -> None:
    assert package.to_be_signed(b"\x30\x00", token) == b"\x30\x00" + bytes.fromhex(end)


@pytest.mark.parametrize(("psmo", "known"), KNOWN_PSMOS, ids=ids(KNOWN_PSMOS))
def test_psmos(psmo: Enable, known: str) -> None:
    assert psmo.encode() == bytes.fromhex(known)
    read = package.EuiccPackageRequest.parse(request([psmo]))
    assert (read.operations, read.list_tag) == ((psmo,), package.PSMO_LIST)


@pytest.mark.parametrize(("eco", "known"), KNOWN_ECOS, ids=ids(KNOWN_ECOS))
def test_ecos(eco: ListEim, known: str) -> None:
    assert eco.encode() == bytes.fromhex(known)
    read = package.EuiccPackageRequest.parse(request([eco]))
    assert (read.operations, read.list_tag) == ((eco,), package.ECO_LIST)


def test_a_package_has_psmos_or_ecos() -> None:
    with pytest.raises(CodecError, match="PSMOs and eCOs in one package"):
        package.package_signed("a", EID, 1, [GetRat(), ListEim()])
    empty = package.EuiccPackageRequest.parse(request([], list_tag=package.ECO_LIST, transaction=b"\x01\x02"))
    assert (empty.operations, empty.list_tag, empty.transaction_id) == ((), package.ECO_LIST, b"\x01\x02")


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [("AF00", "no operation has the tag AF"), ("A3035A0101", "expected 10 bytes, found 1"), ("A300", "missing member"),
     ("A30E5A0A980010325476981032140501", "truncated"), ("BF65028100", "expected 80, found 81")],
)  # fmt: skip
def test_a_damaged_operation_does_not_spoil_the_package(damaged: str, reason: str) -> None:
    raw = bytes.fromhex(damaged) if reason != "truncated" else bytes.fromhex("A30F5A0A98001032547698103214050100")
    read = package.EuiccPackageRequest.parse(request([Enable(ICCID), UnknownOperation(raw), Disable(ICCID)]))
    first, bad, last = read.operations
    assert (first, last) == (Enable(ICCID), Disable(ICCID))
    assert isinstance(bad, UnknownOperation)
    assert bad.raw == raw
    assert (reason if reason != "truncated" else "NULL") in bad.reason


@pytest.mark.parametrize("psmo", [SetFallbackAttribute(ICCID), UnsetFallbackAttribute(), SetDefaultDpAddress("a")])
def test_new_psmos_are_unknown_to_version_1_0(psmo: UnsetFallbackAttribute) -> None:
    with pytest.raises(CodecError, match=r"expected v1.1 or later, found 1.0.1"):
        package.package_signed("a", EID, 1, [psmo], version=OLD)
    (read,) = package.EuiccPackageRequest.parse(request([psmo]), OLD).operations
    assert isinstance(read, UnknownOperation)


def test_what_a_package_that_is_not_parsable_says_of_itself() -> None:
    whole = request([Enable(ICCID)], transaction=b"\x07")
    assert package.identity(whole) == ("testeim1", b"\x07")
    no_list = tlv.encode(0xBF51, tlv.encode(0x30, bytes.fromhex("800161 820107")))
    assert package.identity(no_list) == ("a", b"\x07")
    assert package.identity(b"") == (None, None)
    with pytest.raises(CodecError, match="expected 5F37"):
        package.EuiccPackageRequest.parse(no_list)


def test_a_wrong_eid_is_for_the_euicc_to_refuse() -> None:
    signed = tlv.encode(0x30, bytes.fromhex("800161 5A0101 810101 A000"))
    assert package.EuiccPackageRequest.parse(package.package_request(signed, SIGNATURE)).eid == b"\x01"
    with pytest.raises(CodecError, match="EID: length: expected 16 bytes"):
        package.package_signed("a", b"\x01", 1, [])


@given(st.binary(min_size=10, max_size=10), st.integers(0, 2**40), st.binary(min_size=1, max_size=16), st.booleans())
def test_requests_survive(iccid: bytes, counter: int, transaction: bytes, rollback: bool) -> None:
    operations = [Enable(iccid, rollback), Disable(iccid), Delete(iccid)]
    signed = package.package_signed("é" * 64, EID, counter, operations, transaction)
    read = package.EuiccPackageRequest.parse(package.package_request(signed, SIGNATURE))
    assert read.operations == tuple(operations)
    assert (read.eim_id, read.counter, read.transaction_id, read.signed_raw) == (
        "é" * 64,
        counter,
        transaction,
        signed,
    )


# -------------------------------------------------------------------------------------------------------------- results

PROFILE = bytes.fromhex("E310 5A0A98001032547698103214 9F700101")
RULE = bytes.fromhex("3011 80020560 A107 3005 800321F354 82020780")
RESULT_TAGS = {
    "enable": "83", "disable": "84", "delete": "85", "configureImmediateEnable": "87", "deleteEim": "89",
    "updateEim": "8A", "rollback": "8C", "setFallbackAttribute": "8D", "unsetFallbackAttribute": "8E",
    "processingTerminated": "02",
}  # fmt: skip
ALL_CODES = [(function, code) for function, names in RESULTS.items() for code in names]


@pytest.mark.parametrize(("function", "code"), ALL_CODES)
def test_every_code_of_every_result(function: str, code: int) -> None:
    result = OperationResult(function, code)
    raw = result.encode()
    number = bytes((1, code))
    if function in RESULT_TAGS:
        assert raw == bytes.fromhex(RESULT_TAGS[function]) + number
    elif function == "setDefaultDpAddress":
        assert raw == bytes.fromhex("BF650380") + number
    elif function == "addEim":
        assert raw == bytes.fromhex("A80302") + number
    elif code:
        assert raw == bytes.fromhex("BF2D0381" if function == "listProfileInfo" else "AB0381") + number
    read = OperationResult.parse(tlv.parse(raw))
    assert (read, read.name) == (result, RESULTS[function][code])
    assert read.done == (read.name in ("ok", "lastEimDeleted"))


def test_results_that_are_more_than_a_code() -> None:
    for result, known in (
        (OperationResult("addEim", association_token=200), "A804 840200C8"),
        (
            OperationResult("listEim", eims=(EimIdInfo("a", 2), EimIdInfo("b"))),
            "AB0F A00D 3006 800161 820102 3003 800162",
        ),
        (OperationResult("listProfileInfo", content=PROFILE), "BF2D14 A012" + PROFILE.hex()),
        (OperationResult("getRAT", content=RULE), "A613" + RULE.hex()),
    ):
        assert result.encode() == bytes.fromhex(known)
        assert OperationResult.parse(tlv.parse(result.encode())) == result
    assert OperationResult("listEim", eims=(EimIdInfo("a", 2),)).encode(OLD).hex() == "ab0aa0083006800161840102"
    assert OperationResult.parse(tlv.parse(bytes.fromhex("AB0AA0083006800161840102"))).eims == (EimIdInfo("a", 2),)
    assert OperationResult("getRAT", content=RULE).rules()[0].rules == ("ppr1", "ppr2")


def test_answers_of_the_profile_functions_become_results() -> None:
    assert profile_list_result(bytes.fromhex("BF2D14A012") + PROFILE).content == PROFILE
    assert profile_list_result(bytes.fromhex("BF2D0381010B")).name == "profileChangeOngoing"
    assert rules_result(bytes.fromhex("BF4315A013") + RULE).content == RULE
    with pytest.raises(CodecError, match="expected BF2D"):
        profile_list_result(b"\x30\x00")


@pytest.mark.parametrize(
    ("function", "code"),
    [("enable", 3), ("enable", 5), ("enable", 20), ("disable", 5), ("delete", 21), ("addEim", 2),
     ("setFallbackAttribute", 0), ("setDefaultDpAddress", 0)],
)  # fmt: skip
def test_codes_that_version_1_0_does_not_have(function: str, code: int) -> None:
    assert code in result_names(function)
    with pytest.raises(CodecError, match=r"v1\.0\.1: result code"):
        OperationResult(function, code).encode(OLD)
    with pytest.raises(CodecError, match="found 99"):
        OperationResult(function, 99).encode()


def test_codes_that_only_version_1_0_has() -> None:
    assert OperationResult("listEim", 7).encode(OLD) == bytes.fromhex("AB03810107")
    assert OperationResult.parse(tlv.parse(bytes.fromhex("AB03810107"))).name == "commandError"


def test_unknown_results_are_kept() -> None:
    result = OperationResult.parse(tlv.parse(b"\x8f\x01\x00"))
    assert (result.function, result.encode(), result.done) == (UNKNOWN, b"\x8f\x01\x00", False)
    assert OperationResult.parse(tlv.parse(b"\x83\x01\x2a")).name == "unknown 42"


def test_a_signed_result() -> None:
    results = (OperationResult("disable"), OperationResult("enable", 1))
    signed = package.result_signed("a", 5, 130, results, b"\x07")
    assert signed.hex() == "3015800161810105820107830200823006840100830101"
    raw = package.signed_result(signed, SIGNATURE)
    assert raw == bytes.fromhex("BF515C A05A") + signed + bytes.fromhex("5F3740") + SIGNATURE
    read = package.parse_result(raw)
    assert isinstance(read, package.SignedResult)
    assert (read.eim_id, read.counter, read.transaction_id, read.seq) == ("a", 5, b"\x07", 130)
    assert (read.results, read.signed_raw, read.signature, read.raw) == (results, signed, SIGNATURE, raw)


@pytest.mark.parametrize("code", package.ERRORS)
def test_every_signed_error(code: int) -> None:
    signed = package.error_signed("a", 5, code)
    assert signed == bytes.fromhex("3009 800161 810105 0201") + bytes((code,))
    raw = package.signed_error(signed, SIGNATURE)
    assert raw == bytes.fromhex("BF5150A14E") + signed + bytes.fromhex("5F3740") + SIGNATURE
    read = package.parse_result(raw)
    assert isinstance(read, package.SignedError)
    assert (read.code, read.name, read.signed_raw) == (code, package.ERRORS[code], signed)


def test_unsigned_errors() -> None:
    for made, known in (
        (package.unsigned_error("a"), "BF5105 A203 800161"),
        (package.unsigned_error("a", b"\x07", 128), "BF510C A20A 800161 820107 84020080"),
        (package.unsigned_error("a", code=15, version=Version.V1_3), "BF5108 A206 800161 8F010F"),
    ):
        assert made == bytes.fromhex(known)
        read = package.parse_result(made)
        assert isinstance(read, package.UnsignedError)
        assert package.unsigned_error(
            read.eim_id, read.transaction_id, read.association_token, read.code, Version.V1_3
        ) == made  # fmt: skip
    assert package.UnsignedError("a", None, None, 15).name == "sizeOverflow"


def test_strict_in_sending_results() -> None:
    with pytest.raises(CodecError, match=r"expected v1\.3"):
        package.unsigned_error("a", code=15)
    with pytest.raises(CodecError, match=r"expected v1\.1"):
        package.unsigned_error("a", b"\x01", version=OLD)
    with pytest.raises(CodecError, match="EuiccPackageErrorCode"):
        package.error_signed("a", 1, 104, version=OLD)
    with pytest.raises(CodecError, match="EuiccPackageErrorCode"):
        package.error_signed("a", 1, 5)


def test_members_of_later_versions_are_passed_over_and_misplaced_ones_refused() -> None:
    later = bytes.fromhex("BF5109 A207 800161 9F200101")
    assert package.parse_result(later) == package.UnsignedError("a", None, None, raw=later)
    with pytest.raises(CodecError, match="twice or out of order"):
        package.parse_result(bytes.fromhex("BF510BA209 800161 840101 820101"))
