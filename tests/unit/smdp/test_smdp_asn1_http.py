"""ES9+ in ASN.1 over HTTP: the same server, the same functions, another path."""

import pytest

ASN1 = "/gsma/rsp2/asn1"
TYPE = {"Content-Type": "application/x-gsma-rsp-asn1"}


@pytest.fixture
def asn1_bench(make_bench):
    bench = make_bench(binding="asn1")
    bench.release()
    return bench


def test_a_whole_download(asn1_bench, tools):
    euicc = asn1_bench.euicc()
    bound = asn1_bench.download(euicc)
    opened = euicc.unbind(bound["boundProfilePackage"])
    assert (opened.upp, opened.metadata) == (tools.package(), tools.metadata())
    assert asn1_bench.notify(euicc.result()).detail == "success"
    assert asn1_bench.notify(euicc.notification("enable", 2)).verified
    assert asn1_bench.state() == "Enabled"


def test_a_download_may_change_its_binding(asn1_bench, tools):
    euicc = asn1_bench.euicc()
    offered = asn1_bench.authenticate(euicc)
    asn1_bench.binding = "json"
    assert euicc.unbind(asn1_bench.bind(euicc, offered)["boundProfilePackage"]).upp == tools.package()


def test_cancel_session(asn1_bench, tools):
    euicc = asn1_bench.euicc()
    answer = asn1_bench.cancel(euicc, asn1_bench.authenticate(euicc)["transactionId"], reason=0)
    assert answer.http.body.hex() == "a205bf4102a000"
    assert asn1_bench.state() == "Error"


def test_an_expired_session_is_an_unknown_one(asn1_bench):
    euicc = asn1_bench.euicc()
    opened = asn1_bench.initiate(euicc)
    response = euicc.authenticate(opened)
    asn1_bench.now_ns += 3600 * 1_000_000_000
    answer = asn1_bench.call(
        "authenticateClient", transactionId=opened["transactionId"], authenticateServerResponse=response
    )
    assert answer.http.body.hex() == "a206bf3b0381010a"


@pytest.mark.parametrize("body", ["", "a2", "a200", "bf3900", "a203bf4000", "a205bf41028001", "a3" * 60, "30800000"])
def test_what_is_no_request(asn1_bench, body):
    assert asn1_bench.post(ASN1, bytes.fromhex(body), TYPE).status == 400


def test_the_rules_of_http(asn1_bench):
    assert asn1_bench.post(ASN1, b"", TYPE, method="GET").status == 405
    assert asn1_bench.post(ASN1, b"").status == 415
    assert asn1_bench.post(ASN1 + "/", b"", TYPE).status == 404
    assert asn1_bench.post(ASN1, bytes(65537), TYPE).status == 413
    assert asn1_bench.post(ASN1, b"", {**TYPE, "X-Admin-Protocol": "gsma/other"}).status == 400


@pytest.mark.parametrize("protocol", [None, "gsma/rsp/v2.1.0", "gsma/rsp/v3.0.0", "GSMA/RSP/v2.2.2", "gsma/rsp/vX"])
def test_any_version_of_the_protocol_is_served(asn1_bench, protocol):
    asn1_bench.protocol = protocol
    assert asn1_bench.initiate(asn1_bench.euicc()).status == "Executed-Success"


@pytest.mark.parametrize("body", [b"[" * 60000, b'{"a":' * 12000, b'{"a":[' + b"{}," * 300 + b"{}]}"])
def test_json_full_of_brackets_is_not_read(asn1_bench, body):
    answer = asn1_bench.post("initiateAuthentication", body, {"Content-Type": "application/json"})
    assert answer.status == 400
    assert b"too many arrays and objects" in answer.body
