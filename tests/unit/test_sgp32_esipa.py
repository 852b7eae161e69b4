"""ESipa messages: the known bytes, every function and error code, in ASN.1 and JSON with the same fields."""

import base64
import json

import pytest

from esim_bench.codec import esipa, esipa_json, tlv
from esim_bench.codec.esipa import EsipaError, Fields
from esim_bench.codec.esipa_objects import EIM_PACKAGE_ERRORS, PROVIDE_ERRORS, STATE_CHANGE_CAUSES, acknowledgements
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import CodecError, RspError

OLD = Version.V1_0_1
EID = bytes.fromhex("89049032123451234512345678901235")
CHALLENGE = bytes(range(16))
SEQUENCE = bytes.fromhex("3003 800101")
SIGNATURE = tlv.encode(0x5F37, bytes(64))
CERTIFICATE = bytes.fromhex("3008 3000 3000 03020001")
KEY_ID = bytes.fromhex("04020102")
RESULT = bytes.fromhex("BF5105 A203 800161")
PACKAGE = bytes.fromhex("BF5105 3000 5F3700")
DATA_REQUEST = bytes.fromhex("BF5205 5C03BF20A5")
TRIGGER = bytes.fromhex("BF5400")
NOTIFICATION = bytes.fromhex("3003 BF2F00")
BOTH = tlv.encode(0x30, RESULT, tlv.encode(0xA0, NOTIFICATION))
TRANSACTION = b"\xab\x01"

REQUESTS: list[tuple[str, dict[str, esipa.Value], str]] = [
    ("initiateAuthentication", {"euiccChallenge": CHALLENGE}, "BF3912 8110" + CHALLENGE.hex()),
    (
        "initiateAuthentication",
        {
            "euiccChallenge": CHALLENGE,
            "smdpAddress": "a.b",
            "euiccInfo1": bytes.fromhex("BF2000"),
            "eimTransactionId": TRANSACTION,
        },
        "BF391E 8110" + CHALLENGE.hex() + "8303612E62 BF2000 8202AB01",
    ),
    (
        "authenticateClient",
        {"transactionId": TRANSACTION, "authenticateServerResponse": bytes.fromhex("BF3802A000")},
        "BF3B09 8002AB01 BF3802A000",
    ),
    (
        "getBoundProfilePackage",
        {"transactionId": TRANSACTION, "prepareDownloadResponse": bytes.fromhex("BF2102A200")},
        "BF3A09 8002AB01 BF2102A200",
    ),
    (
        "cancelSession",
        {"transactionId": TRANSACTION, "cancelSessionResponse": bytes.fromhex("BF4103810105")},
        "BF4109 8002AB01 A103810105",
    ),
    ("handleNotification", {"pendingNotification": NOTIFICATION}, "BF3D07 A005 3003BF2F00"),
    ("handleNotification", {"pendingNotification": bytes.fromhex("BF3700")}, "BF3D05 A003 BF3700"),
    ("handleNotification", {"pendingNotification": bytes.fromhex("A1025A00")}, "BF3D06 A004 A1025A00"),
    ("handleNotification", {"provideEimPackageResult": bytes.fromhex("BF5003BF5400")}, "BF3D06 BF5003BF5400"),
    ("getEimPackage", {"eidValue": EID}, "BF4F12 5A10" + EID.hex()),
    (
        "getEimPackage",
        {"eidValue": EID, "notifyStateChange": True, "stateChangeCause": 1, "rPLMN": b"\x21\xf3\x54"},
        "BF4F1C 5A10" + EID.hex() + "8000 810101 820321F354",
    ),
    ("provideEimPackageResult", {"eimPackageResult": RESULT}, "BF5008" + RESULT.hex()),
    (
        "provideEimPackageResult",
        {"eidValue": EID, "eimPackageResult": BOTH},
        "BF5023 5A10" + EID.hex() + BOTH.hex(),
    ),
    ("provideEimPackageResult", {"eimPackageResult": bytes.fromhex("A003020102")}, "BF5005 A003020102"),
    ("transferEimPackage", {"euiccPackageRequest": PACKAGE}, "BF4E08" + PACKAGE.hex()),
    ("transferEimPackage", {"ipaEuiccDataRequest": DATA_REQUEST}, "BF4E08" + DATA_REQUEST.hex()),
    ("transferEimPackage", {"profileDownloadTriggerRequest": TRIGGER}, "BF4E03 BF5400"),
    ("transferEimPackage", {"eimAcknowledgements": acknowledgements([1])}, "BF4E06 BF5303800101"),
]
REQUESTS_1_0: list[tuple[str, dict[str, esipa.Value], str]] = [
    ("getEimPackage", {"eidValue": EID, "rPLMN": b"\x21\xf3\x54"}, "BF4F17 5A10" + EID.hex() + "810321F354"),
    ("provideEimPackageResult", {"eimPackageResult": bytes.fromhex("020102")}, "BF5003 020102"),
    ("handleNotification", {"provideEimPackageResult": bytes.fromhex("BF5003BF5400")}, "BF3D05 A103BF5400"),
]
AUTHENTICATION: dict[str, esipa.Value] = {
    "serverSigned1": SEQUENCE,
    "serverSignature1": SIGNATURE,
    "euiccCiPKIdToBeUsed": KEY_ID,
    "serverCertificate": CERTIFICATE,
}
CONSENT: dict[str, esipa.Value] = {
    "smdpSigned2": SEQUENCE,
    "smdpSignature2": SIGNATURE,
    "smdpCertificate": CERTIFICATE,
}
RESPONSES: list[tuple[str, dict[str, esipa.Value], str]] = [
    (
        "initiateAuthentication",
        AUTHENTICATION,
        "BF3958 A056" + (SEQUENCE + SIGNATURE + KEY_ID + CERTIFICATE).hex(),
    ),
    (
        "initiateAuthentication",
        {
            "transactionId": TRANSACTION,
            **AUTHENTICATION,
            "matchingId": "M",
            "ctxParams1": bytes.fromhex("A003800161"),
        },
        "BF3966 A064 8002AB01" + (SEQUENCE + SIGNATURE + KEY_ID + CERTIFICATE).hex() + "0C014D A205A003800161",
    ),
    (
        "authenticateClient",
        {
            "transactionId": TRANSACTION,
            "profileMetadata": bytes.fromhex("BF2500"),
            **CONSENT,
            "hashCc": bytes(range(32)),
        },
        "BF3B7D A07B 8002AB01 BF2500" + (SEQUENCE + SIGNATURE + CERTIFICATE).hex() + "0420" + bytes(range(32)).hex(),
    ),
    ("authenticateClient", CONSENT, "BF3B54 A052" + (SEQUENCE + SIGNATURE + CERTIFICATE).hex()),
    (
        "authenticateClient",
        {"transactionId": TRANSACTION, "profileDownloadTrigger": TRIGGER},
        "BF3B09 A107 8002AB01 BF5400",
    ),
    ("getBoundProfilePackage", {"boundProfilePackage": bytes.fromhex("BF3600")}, "BF3A05 A003 BF3600"),
    ("cancelSession", {}, "BF4102 A000"),
    ("getEimPackage", {"euiccPackageRequest": PACKAGE}, "BF4F08" + PACKAGE.hex()),
    ("getEimPackage", {"ipaEuiccDataRequest": DATA_REQUEST}, "BF4F08" + DATA_REQUEST.hex()),
    ("getEimPackage", {"profileDownloadTriggerRequest": TRIGGER}, "BF4F03 BF5400"),
    ("getEimPackage", {"eimPackageError": 1}, "BF4F03 020101"),
    ("provideEimPackageResult", {"eimAcknowledgements": acknowledgements([1, 2])}, "BF5009 BF5306 800101 800102"),
    ("provideEimPackageResult", {}, "BF5002 3000"),
    ("provideEimPackageResult", {"provideEimPackageResultError": 2}, "BF5003 020102"),
    ("transferEimPackage", {"eimPackageResult": RESULT}, "BF4E08" + RESULT.hex()),
    ("transferEimPackage", {"eimPackageResult": BOTH}, "BF4E11" + BOTH.hex()),
    ("transferEimPackage", {"eimPackageReceived": True}, "BF4E02 0500"),
    ("transferEimPackage", {"eimPackageError": 127}, "BF4E03 02017F"),
]
VERSIONS = [(*one, Version.V1_2) for one in REQUESTS] + [(*one, OLD) for one in REQUESTS_1_0]


@pytest.mark.parametrize(("function", "fields", "known", "version"), VERSIONS)
def test_requests(function: str, fields: Fields, known: str, version: Version) -> None:
    raw = bytes.fromhex(known)
    assert esipa.encode_request(function, fields, version) == raw
    assert esipa.decode_request(raw, version) == (function, fields)
    body = esipa_json.encode_request(function, fields, version)
    assert esipa_json.decode_request(function, body, version) == fields


@pytest.mark.parametrize(("function", "fields", "known"), RESPONSES)
def test_responses(function: str, fields: Fields, known: str) -> None:
    raw = bytes.fromhex(known)
    assert esipa.encode_response(function, fields) == raw
    assert esipa.decode_response(function, raw) == fields
    body = esipa_json.encode_response(function, fields)
    assert esipa_json.decode_response(function, body) == fields


CODES = [
    (function, code, version)
    for function in esipa.ERRORS
    for version in Version
    for code in esipa.errors(function, version)
]
FIELDS = {
    "getEimPackage": "eimPackageError",
    "provideEimPackageResult": "provideEimPackageResultError",
    "transferEimPackage": "eimPackageError",
}


@pytest.mark.parametrize(("function", "code", "version"), CODES)
def test_every_error_code(function: str, code: int, version: Version) -> None:
    raw = esipa.encode_error(function, code, version)
    arm = "02" if function in FIELDS else "82" if function == "authenticateClient" else "81"
    assert raw == bytes.fromhex(f"{esipa.FUNCTIONS[function].tag:X}03 {arm}01{code:02X}")
    if function in FIELDS:
        assert esipa.decode_response(function, raw) == {FIELDS[function]: code}
        assert esipa.encode_response(function, {FIELDS[function]: code}, version) == raw
        return
    with pytest.raises(EsipaError) as caught:
        esipa.decode_response(function, raw)
    assert (caught.value.number, caught.value.name) == (code, esipa.ERRORS[function][code])
    with pytest.raises(EsipaError) as again:
        esipa_json.decode_response(function, esipa_json.encode_failure(caught.value))
    assert (again.value.number, again.value.name) == (code, esipa.ERRORS[function][code])
    assert esipa.encode_failure(function, again.value, version) == raw


def test_codes_of_other_versions() -> None:
    for function, code, version in (
        ("authenticateClient", 18, Version.V1_2),
        ("initiateAuthentication", 52, OLD),
        ("provideEimPackageResult", 2, OLD),
        ("getEimPackage", 4, OLD),
        ("cancelSession", 3, Version.V1_2),
    ):
        with pytest.raises(CodecError, match="error code"):
            esipa.encode_error(function, code, version)
    with pytest.raises(CodecError, match="error code"):
        esipa.encode_response("getEimPackage", {"eimPackageError": 2}, OLD)
    assert EIM_PACKAGE_ERRORS[4] == PROVIDE_ERRORS[4] == "missingEid"


def test_errors_of_an_smdp_are_passed_on() -> None:
    refused = RspError("8.2.6", "3.8", "matching id refused")
    assert esipa.encode_failure("authenticateClient", refused).hex() == "bf3b03820106"
    assert esipa.encode_failure("authenticateClient", RspError("9.9", "9.9")).hex() == "bf3b0382017f"
    with pytest.raises(EsipaError) as caught:
        esipa_json.decode_response("authenticateClient", esipa_json.encode_failure(refused))
    assert (caught.value.subject, caught.value.reason, caught.value.number) == ("8.2.6", "3.8", 6)
    expired = RspError("8.8.5", "4.10")
    assert esipa.encode_failure("authenticateClient", expired).hex() == "bf3b0382017f"
    assert esipa.encode_failure("authenticateClient", expired, Version.V1_3).hex() == "bf3b03820112"


def test_acknowledgement_of_version_1_0_may_be_empty() -> None:
    assert esipa.encode_response("provideEimPackageResult", {}, OLD).hex() == "bf5000"
    for empty in ("BF5000", "BF50023000"):
        assert esipa.decode_response("provideEimPackageResult", bytes.fromhex(empty)) == {}


# ------------------------------------------------------------------------------------------------- lenient in receiving


def test_a_cancelled_session_comes_in_two_forms() -> None:
    for nested in ("BF410C 8002AB01 A106 BF4103810105", "BF4109 8002AB01 A103810105"):
        _, fields = esipa.decode_request(bytes.fromhex(nested))
        assert fields["cancelSessionResponse"] == bytes.fromhex("BF4103810105")


@pytest.mark.parametrize("form", ["BF3D06 BF5003BF5400", "BF3D05 A103BF5400", "BF3D08 A106 BF5003BF5400"])
@pytest.mark.parametrize("version", [OLD, Version.V1_2])
def test_results_in_a_notification_come_in_three_forms(form: str, version: Version) -> None:
    assert esipa.decode_request(bytes.fromhex(form), version) == (
        "handleNotification",
        {"provideEimPackageResult": bytes.fromhex("BF5003BF5400")},
    )


def test_a_notification_may_come_without_its_explicit_tag() -> None:
    assert esipa.decode_request(bytes.fromhex("BF3D03BF3700"))[1] == {"pendingNotification": bytes.fromhex("BF3700")}
    assert esipa.decode_request(bytes.fromhex("BF3D053003BF2F00"))[1] == {"pendingNotification": NOTIFICATION}


def test_the_network_of_version_1_0_is_not_a_cause() -> None:
    raw = bytes.fromhex(REQUESTS_1_0[0][2])
    assert esipa.decode_request(raw, Version.V1_2) == ("getEimPackage", REQUESTS_1_0[0][1])


@pytest.mark.parametrize("eid", [b"", EID[:15], EID + b"\x00"])
def test_wrong_and_missing_eids_are_the_eims_to_refuse(eid: bytes) -> None:
    assert esipa.decode_request(bytes.fromhex("BF4F00")) == ("getEimPackage", {})
    assert esipa_json.decode_request("getEimPackage", b"{}") == {}
    raw = tlv.encode(0xBF4F, tlv.encode(0x5A, eid))
    assert esipa.decode_request(raw) == ("getEimPackage", {"eidValue": eid})
    if eid:
        body = json.dumps({"eidValue": eid.hex()}).encode()
        assert esipa_json.decode_request("getEimPackage", body) == {"eidValue": eid}
    with pytest.raises(CodecError, match="expected 16 bytes"):
        esipa.encode_request("getEimPackage", {"eidValue": eid})


def test_answers_of_version_1_3_with_a_correlation_are_carried() -> None:
    raw = bytes.fromhex("BF4E06 BF6003800101")
    assert esipa.decode_response("transferEimPackage", raw) == {"eimPackageResult": bytes.fromhex("BF6003800101")}


# ---------------------------------------------------------------------------------------------------- strict in sending


@pytest.mark.parametrize(
    ("function", "fields", "version"),
    [
        ("getEimPackage", {}, Version.V1_2),
        ("getEimPackage", {"eidValue": EID, "stateChangeCause": 9}, Version.V1_2),
        ("getEimPackage", {"eidValue": EID, "stateChangeCause": True}, Version.V1_2),
        ("getEimPackage", {"eidValue": EID, "notifyStateChange": False}, Version.V1_2),
        ("getEimPackage", {"eidValue": EID, "stateChangeCause": 1}, OLD),
        ("getEimPackage", {"eidValue": EID, "rPLMN": b"\x01"}, Version.V1_2),
        ("initiateAuthentication", {"euiccChallenge": CHALLENGE, "eimTransactionId": b"\x01"}, OLD),
        ("initiateAuthentication", {"euiccChallenge": "text"}, Version.V1_2),
        ("initiateAuthentication", {"euiccChallenge": CHALLENGE, "smdpAddress": b"octets"}, Version.V1_2),
        ("provideEimPackageResult", {"eidValue": EID, "eimPackageResult": RESULT}, OLD),
        ("provideEimPackageResult", {"eimPackageResult": bytes.fromhex("020102")}, Version.V1_2),
        ("provideEimPackageResult", {"eimPackageResult": bytes.fromhex("A003020102")}, OLD),
        ("handleNotification", {}, Version.V1_2),
        ("handleNotification", {"pendingNotification": b"\x04\x00"}, Version.V1_2),
        ("authenticateClient", {"transactionId": b"", "authenticateServerResponse": b"\xbf\x38\x00"}, Version.V1_2),
        ("transferEimPackage", {"euiccPackageRequest": PACKAGE, "ipaEuiccDataRequest": DATA_REQUEST}, Version.V1_2),
        ("sing", {}, Version.V1_2),
    ],
)
def test_wrong_requests_are_not_sent(function: str, fields: Fields, version: Version) -> None:
    with pytest.raises(CodecError):
        esipa.encode_request(function, fields, version)
    with pytest.raises(CodecError):
        esipa_json.encode_request(function, fields, version)


def test_wrong_answers_are_not_sent() -> None:
    for function, fields in (
        ("getEimPackage", {}),
        ("getEimPackage", {"eimPackageError": 9}),
        ("authenticateClient", {"smdpSigned2": SEQUENCE}),
        ("handleNotification", {}),
        ("getBoundProfilePackage", {}),
    ):
        with pytest.raises(CodecError):
            esipa.encode_response(function, fields)  # type: ignore[arg-type]
    assert set(STATE_CHANGE_CAUSES) == {0, 1, 2, 3, 4, 5, 6, 127}


@pytest.mark.parametrize(
    "body",
    ["", "BF4F", "BF99 00", "BF4F02 0500 00", "BF3D00", "BF3D04 A0020500", "BF5000", "BF5006 A003020102 00", "BF4E00"],
)
def test_malformed_requests(body: str) -> None:
    with pytest.raises(CodecError):
        esipa.decode_request(bytes.fromhex(body))


@pytest.mark.parametrize("body", ["BF4F00", "BF4F03 BF5300", "BF5003 020101", "BF4F06 020101 BF5400"])
def test_malformed_answers(body: str) -> None:
    with pytest.raises(CodecError):
        esipa.decode_response("getEimPackage", bytes.fromhex(body))


# ----------------------------------------------------------------------------------------------------------------- JSON


def test_json_has_digits_hexadecimal_and_base64() -> None:
    body = esipa_json.encode_request("getEimPackage", {"eidValue": EID, "notifyStateChange": True})
    assert json.loads(body) == {"eidValue": "89049032123451234512345678901235", "notifyStateChange": True}
    body = esipa_json.encode_request(
        "initiateAuthentication", {"euiccChallenge": CHALLENGE, "eimTransactionId": TRANSACTION}
    )
    assert json.loads(body) == {"euiccChallenge": base64.b64encode(CHALLENGE).decode(), "eimTransactionId": "AB01"}
    body = esipa_json.encode_response("getEimPackage", {"eimPackageError": 1})
    assert json.loads(body) == {
        "header": {"functionExecutionStatus": {"status": "Executed-Success"}},
        "eimPackageError": 1,
    }
    body = esipa_json.encode_response("getEimPackage", {"euiccPackageRequest": PACKAGE})
    assert json.loads(body)["euiccPackageRequest"] == base64.b64encode(PACKAGE).decode()
    assert "eimAcknowledgements" not in json.loads(esipa_json.encode_response("provideEimPackageResult", {}))


def test_paths() -> None:
    assert esipa_json.path("getEimPackage") == "/gsma/rsp2/esipa/getEimPackage"
    for function in esipa.FUNCTIONS:
        assert esipa_json.function_of(esipa_json.path(function)) == function
    for wrong in ("/gsma/rsp2/esipa/", "/gsma/rsp2/es9plus/getEimPackage", "getEimPackage", ""):
        with pytest.raises(CodecError, match="unknown path"):
            esipa_json.function_of(wrong)


def test_json_names_of_both_standards_are_read() -> None:
    consent = {
        "profileMetaData": base64.b64encode(bytes.fromhex("BF2500")).decode(),
        **{name: base64.b64encode(value).decode() for name, value in CONSENT.items()},  # type: ignore[arg-type]
        "hashCc": base64.b64encode(bytes(32)).decode(),
    }
    fields = esipa_json.decode_response("authenticateClient", json.dumps(consent).encode())
    assert (fields["profileMetadata"], fields["hashCc"]) == (bytes.fromhex("BF2500"), bytes(32))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"eidValue": 1}',
        b'{"eidValue": "xyz"}',
        b'{"eidValue": "89", "stateChangeCause": true}',
        b'{"eidValue": "89", "stateChangeCause": 1.5}',
        b'{"eidValue": "89", "rPLMN": "2"}',
        b'{"eidValue": "89", "eidValue": "89"}',
    ],
)
def test_malformed_json(body: bytes) -> None:
    with pytest.raises(CodecError):
        esipa_json.decode_request("getEimPackage", body)


@pytest.mark.parametrize("value", ["@@@@", "MAA", "BAA=", "MAAA", 7, ""])
def test_malformed_objects_in_json(value: object) -> None:
    with pytest.raises(CodecError):
        esipa_json.decode_request("provideEimPackageResult", json.dumps({"eimPackageResult": value}).encode())
    with pytest.raises(CodecError, match="eimPackageResult is missing"):
        esipa_json.decode_request("provideEimPackageResult", b"{}")


def test_one_line_for_people() -> None:
    request = esipa.encode_request("getEimPackage", {"eidValue": EID})
    assert esipa.describe(request, None) == "ESipa.GetEimPackage"
    nothing = esipa.encode_response("getEimPackage", {"eimPackageError": 1})
    assert esipa.describe(request, nothing) == "ESipa.GetEimPackage -> noEimPackageAvailable"
    package = esipa.encode_response("getEimPackage", {"euiccPackageRequest": PACKAGE})
    assert esipa.describe(request, package) == "ESipa.GetEimPackage -> euiccPackageRequest"
    provide = esipa.encode_request("provideEimPackageResult", {"eimPackageResult": RESULT})
    assert esipa.describe(provide, bytes.fromhex("BF50023000")) == "ESipa.ProvideEimPackageResult -> empty"
    cancel = bytes.fromhex("BF4100")
    assert esipa.describe(cancel, bytes.fromhex("BF4102A000")) == "ESipa.CancelSession -> ok"
    assert esipa.describe(cancel, bytes.fromhex("BF4103810101")) == "ESipa.CancelSession -> invalidTransactionId"
    assert esipa.describe(cancel, b"\x00") == "ESipa.CancelSession -> 1 bytes"
    assert esipa.describe(b"\x30\x00", None) == "ESipa 30"
