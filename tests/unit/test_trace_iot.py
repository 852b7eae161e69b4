"""Traces of SGP.32: what an exchange means, and that the secrets of a download stay in."""

import base64

import pytest

from esim_bench.codec import esipa, esipa_json, euicc_package, tlv
from esim_bench.codec.download_trigger import ProfileDownloadTrigger
from esim_bench.codec.euicc_operations import Delete, Enable
from esim_bench.codec.euicc_results import OperationResult
from esim_bench.events import ApduEvent, RspEvent
from esim_bench.trace.decode import ApduDecoder, describe_event
from esim_bench.trace.mask import SecretMask

ICCID = bytes.fromhex("98001032547698103214")
URL = "https://eim.example.com/gsma/rsp2/asn1"


def exchange(request: bytes, response: bytes) -> str:
    """Send an ES10 request of one block and return what the decoder says of it."""
    command = bytes((0x81, 0xE2, 0x91, 0x00, len(request))) + request + b"\x00"
    return ApduDecoder().feed(ApduEvent(0, command, response + b"\x90\x00", 12_000_000))


def test_a_package_is_told_with_its_operations_and_results() -> None:
    signed = euicc_package.package_signed("testeim1", bytes(16), 7, (Enable(ICCID), Delete(ICCID)))
    request = euicc_package.package_request(signed, bytes(64))
    results = (OperationResult("enable"), OperationResult("delete", 2))
    answer = euicc_package.signed_result(euicc_package.result_signed("testeim1", 7, 3, results), bytes(64))
    told = exchange(request, answer)
    assert told == (
        "ES10b.LoadEuiccPackage 7 of testeim1: enable, delete -> enable ok, delete profileNotInDisabledState, 12 ms"
    )


@pytest.mark.parametrize(
    ("request_bytes", "response", "told"),
    [
        ("BF5500", "BF5502A000", "ES10b.GetEimConfigurationData -> no eIM"),
        ("BF5803800100", "BF5803020101", "ES10b.ProfileRollback -> rollbackNotAllowed"),
        ("BF5D038001FF", "BF5D03800106", "ES10b.ExecuteFallbackMechanism -> fallbackNotAvailable"),
        ("BF2B04A0028200", "BF2B02A200", "ES10b.RetrieveNotificationsList -> 0 notifications, 0 package results"),
        ("BF2B00", "BF2B02A000", "ES10b.RetrieveNotificationsList -> 0 notifications"),
    ],
)
def test_functions_of_sgp32_have_their_names(request_bytes: str, response: str, told: str) -> None:
    assert exchange(bytes.fromhex(request_bytes), bytes.fromhex(response)).startswith(told)


def test_esipa_is_told_apart_from_es9_on_the_same_path() -> None:
    poll = RspEvent(0, URL, bytes.fromhex("BF4F125A10") + bytes(16), bytes.fromhex("BF4F03020101"), "200", 80_000_000)
    assert describe_event(poll) == f"ESipa.GetEimPackage -> noEimPackageAvailable, HTTP 200, 80 ms {URL}"
    es9 = RspEvent(0, URL, bytes.fromhex("A203BF3900"), b"", "200", 80_000_000)
    assert "ESipa" not in describe_event(es9)


def test_no_activation_code_of_a_trigger_gets_into_a_masked_trace() -> None:
    trigger = ProfileDownloadTrigger(activation_code="1$smdp.example.com$SECRET-ID", transaction_id=b"\x01").encode()
    fields = {"profileDownloadTriggerRequest": trigger}
    for body in (esipa.encode_response("getEimPackage", fields), esipa_json.encode_response("getEimPackage", fields)):
        masked, spans = SecretMask().apply(RspEvent(0, URL, b"", body, "200", 0))
        assert isinstance(masked, RspEvent)
        assert spans
        assert len(masked.response) == len(body)
        assert b"SECRET-ID" not in masked.response
        assert base64.b64encode(trigger)[-16:] not in masked.response


def test_what_an_eim_adds_to_a_download_is_masked() -> None:
    context = tlv.encode(0xA0, tlv.encode(0x80, b"SECRET-ID"))
    raw = {
        "serverSigned1": tlv.encode(0x30, b""),
        "serverSignature1": tlv.encode(0x5F37, bytes(64)),
        "euiccCiPKIdToBeUsed": tlv.encode(0x04, bytes(20)),
        "serverCertificate": tlv.encode(0x30, b""),
        "matchingId": "SECRET-ID",
        "ctxParams1": context,
    }
    for encode in (esipa.encode_response, esipa_json.encode_response):
        body = encode("initiateAuthentication", raw)
        masked, _ = SecretMask().apply(RspEvent(0, URL, b"", body, "200", 0))
        assert isinstance(masked, RspEvent)
        assert b"SECRET-ID" not in masked.response
        assert base64.b64encode(context) not in masked.response
        assert len(masked.response) == len(body)
