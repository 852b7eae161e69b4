"""The ASN.1 binding of ES9+: laid out as the standard's module has it, the same fields as the JSON binding."""

import contextlib

import asn1tools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.codec import es9, es9_asn1, tlv
from esim_bench.errors import CodecError, RspError

MODULE = """
Check DEFINITIONS AUTOMATIC TAGS EXTENSIBILITY IMPLIED ::= BEGIN
Request ::= [2] CHOICE {
  initiateAuthentication [57] SEQUENCE {
    euiccChallenge [1] OCTET STRING (SIZE (16)), smdpAddress [3] UTF8String, euiccInfo1 [32] SEQUENCE { }
  },
  cancelSession [65] SEQUENCE {
    transactionId OCTET STRING,
    cancelSessionResponse CHOICE { ok SEQUENCE { }, error INTEGER }
  },
  handleNotification [61] SEQUENCE {
    pendingNotification CHOICE { installation [55] SEQUENCE { }, other SEQUENCE { } }
  }
}
Response ::= [2] CHOICE {
  initiateAuthentication [57] CHOICE {
    ok SEQUENCE {
      transactionId [0] OCTET STRING, signed SEQUENCE { }, signature [APPLICATION 55] OCTET STRING,
      ci OCTET STRING, certificate SEQUENCE { }
    },
    error INTEGER
  },
  cancelSession [65] CHOICE { ok SEQUENCE { }, error INTEGER }
}
END
"""
TX = bytes(range(16))


@pytest.fixture(scope="module")
def asn1():
    """Another reader and writer of the same ASN.1."""
    return asn1tools.compile_string(MODULE, "der")


def test_requests_are_what_the_module_says(asn1):
    info = tlv.encode(0xBF20)
    value = {"euiccChallenge": TX, "smdpAddress": "dp.example.com", "euiccInfo1": {}}
    assert asn1.encode("Request", ("initiateAuthentication", value)) == es9_asn1.encode_request(
        "initiateAuthentication", {"euiccChallenge": TX, "smdpAddress": "dp.example.com", "euiccInfo1": info}
    )
    cancelled = {"transactionId": TX, "cancelSessionResponse": ("error", 5)}
    assert asn1.encode("Request", ("cancelSession", cancelled)) == es9_asn1.encode_request(
        "cancelSession", {"transactionId": TX, "cancelSessionResponse": bytes.fromhex("BF4103810105")}
    )
    told = {"pendingNotification": ("installation", {})}
    assert asn1.encode("Request", ("handleNotification", told)) == es9_asn1.encode_request(
        "handleNotification", {"pendingNotification": tlv.encode(0xBF37)}
    )


def test_answers_are_what_the_module_says(asn1):
    fields = {
        "transactionId": TX,
        "serverSigned1": b"\x30\x00",
        "serverSignature1": b"\x5f\x37\x01\xaa",
        "euiccCiPKIdToBeUsed": b"\x04\x01\xbb",
        "serverCertificate": b"\x30\x00",
    }
    value = {"transactionId": TX, "signed": {}, "signature": b"\xaa", "ci": b"\xbb", "certificate": {}}
    encoded = asn1.encode("Response", ("initiateAuthentication", ("ok", value)))
    assert es9_asn1.encode_response("initiateAuthentication", fields) == encoded
    assert es9_asn1.decode_response("initiateAuthentication", encoded) == fields
    assert asn1.encode("Response", ("cancelSession", ("ok", {}))) == es9_asn1.encode_response("cancelSession", {})
    refused = asn1.encode("Response", ("initiateAuthentication", ("error", 3)))
    assert es9_asn1.encode_failure("initiateAuthentication", RspError("8.8.4", "3.7")) == refused


def tlvs(tag):
    return st.binary(max_size=200).map(lambda value: tlv.encode(tag, tlv.encode(0x80, value)))


def fields_of(members):
    known = {
        "transactionId": st.binary(min_size=1, max_size=16),
        "euiccChallenge": st.binary(min_size=16, max_size=16),
        "smdpAddress": st.text(max_size=20),
        "pendingNotification": tlvs(0xBF37) | tlvs(0x30),
        "cancelSessionResponse": tlvs(0xBF41),
    }
    return st.fixed_dictionaries({name: known[name] if name in known else tlvs(tag) for name, tag in members})


@pytest.mark.parametrize("function", es9_asn1.FUNCTIONS)
@given(data=st.data())
def test_both_bindings_carry_the_same_fields(function, data):
    known = es9_asn1.FUNCTIONS[function]
    request = data.draw(fields_of(known.request))
    assert es9.decode_request(function, es9.encode_request(function, request)) == request
    assert es9_asn1.decode_request(es9_asn1.encode_request(function, request)) == (function, request)
    if function != "handleNotification":
        response = data.draw(fields_of(known.response))
        assert es9.decode_response(function, es9.encode_response(function, response)) == response
        assert es9_asn1.decode_response(function, es9_asn1.encode_response(function, response)) == response


@pytest.mark.parametrize(("function", "errors"), es9_asn1.ERRORS.items())
def test_every_error_comes_back_as_the_status_code_it_stands_for(function, errors):
    for error in errors:
        tag = es9_asn1.FUNCTIONS[function].tag
        body = tlv.encode(0xA2, tlv.encode(tag, tlv.encode(0x81, bytes((error.number,)))))
        with pytest.raises(es9_asn1.Es9Error) as refused:
            es9_asn1.decode_response(function, body)
        assert (refused.value.number, refused.value.name) == (error.number, error.name)
        assert error.name in str(refused.value)
        for subject, reason in error.statuses[:1]:
            assert (refused.value.subject, refused.value.reason) == (subject, reason)
        for subject, reason in error.statuses:
            version = max(error.since, (2, 2))
            assert es9_asn1.encode_failure(function, RspError(subject, reason), version) == body


def test_a_code_that_the_module_does_not_know():
    body = bytes.fromhex("A206BF3903810163")
    with pytest.raises(RspError, match="error 99") as refused:
        es9_asn1.decode_response("initiateAuthentication", body)
    assert (refused.value.subject, refused.value.reason) == ("?", "?")


def test_the_version_of_the_lpa_decides_which_errors_it_is_told():
    expired = RspError("8.8.5", "4.10")
    numbers = {
        version: (
            es9_asn1.encode_failure("authenticateClient", expired, version)[-1],
            es9_asn1.encode_failure("getBoundProfilePackage", expired, version)[-1],
        )
        for version in ((2, 5), (2, 6), (3, 1))
    }
    assert numbers == {(2, 5): (127, 6), (2, 6): (18, 127), (3, 1): (18, 127)}


def test_a_notification_without_the_explicit_tag_is_understood():
    for tag in (0xBF37, 0x30):
        notification = tlv.encode(tag, b"\x80\x01\x01")
        bare = tlv.encode(0xA2, tlv.encode(0xBF3D, notification))
        assert es9_asn1.decode_request(bare) == ("handleNotification", {"pendingNotification": notification})


@pytest.mark.parametrize(
    "body",
    [
        "",
        "A200",
        "A202BF39",
        "A203BF3900",
        "A203BF4000",
        "A303BF3900",
        "A206BF39008100AA",
        "A206BF3B038001",
        "A206BF3D03A00130",
        "A205BF3D02A000",
        "A207BF3D04A002BF37",
        "A2" * 80 + "00",
    ],
)
def test_malformed_requests(body):
    with pytest.raises(CodecError):
        es9_asn1.decode_request(bytes.fromhex(body))


@pytest.mark.parametrize("body", ["", "A200", "A203BF3900", "A205BF39028100", "A205BF3B02A000", "A205BF3902A000"])
def test_malformed_answers(body):
    with pytest.raises(CodecError):
        es9_asn1.decode_response("initiateAuthentication", bytes.fromhex(body))


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_read(body):
    for read in (es9_asn1.decode_request, lambda data: es9_asn1.decode_response("authenticateClient", data)):
        with contextlib.suppress(CodecError, RspError):
            read(body)


def test_wrong_fields_are_the_callers_mistake():
    with pytest.raises(CodecError):
        es9_asn1.encode_request("cancelSession", {"transactionId": TX})
    with pytest.raises(CodecError):
        es9_asn1.encode_request("cancelSession", {"transactionId": TX, "cancelSessionResponse": b"\x30\x00"})
    with pytest.raises(CodecError):
        es9_asn1.encode_response("handleNotification", {})
