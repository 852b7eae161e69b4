"""The JSON binding of ES9+ (SGP.22 6.5): what HTTP says before a function is reached, and the shape of answers."""

import asyncio
import base64
import json
import logging

import pytest

from esim_bench import clock
from esim_bench.errors import RigError
from esim_bench.servers import asgi
from esim_bench.servers.smdp.http import MAX_BODY, es9_app


def body_of(bench, **changes):
    euicc = bench.euicc()
    fields = {
        "euiccChallenge": base64.b64encode(euicc.challenge).decode(),
        "euiccInfo1": base64.b64encode(euicc.info1()).decode(),
        "smdpAddress": "testsmdpplus1.example.com",
    }
    return {key: value for key, value in {**fields, **changes}.items() if value is not None}


def test_an_answer_has_the_headers_and_the_header_object(bench):
    response = bench.post("initiateAuthentication", body_of(bench))
    assert response.status == 200
    assert response.headers["content-type"] == "application/json;charset=UTF-8"
    assert response.headers["x-admin-protocol"] == "gsma/rsp/v2.2.0"
    assert int(response.headers["content-length"]) == len(response.body)
    document = json.loads(response.body)
    assert document["header"]["functionExecutionStatus"] == {"status": "Executed-Success"}


def test_a_function_that_failed_is_http_200(bench):
    response = bench.post("initiateAuthentication", body_of(bench, smdpAddress="elsewhere.example.com"))
    assert response.status == 200
    status = json.loads(response.body)["header"]["functionExecutionStatus"]
    assert status["status"] == "Failed"
    assert status["statusCodeData"]["subjectCode"] == "8.8.1"
    assert status["statusCodeData"]["reasonCode"] == "3.8"


@pytest.mark.parametrize("protocol", ["gsma/rsp/v2.0.0", "gsma/rsp/v2.2.2", "gsma/rsp/v3.1.0", "GSMA/RSP/V2.1.0", None])
def test_every_version_of_the_protocol_is_taken(bench, protocol):
    headers = {"X-Admin-Protocol": protocol}
    assert bench.post("initiateAuthentication", body_of(bench), headers).status == 200


def test_another_protocol_is_refused(bench):
    headers = {"X-Admin-Protocol": "gsma/other/v1"}
    assert bench.post("initiateAuthentication", body_of(bench), headers).status == 400


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json;charset=UTF-8", 'Application/JSON; charset="utf-8"']
)
def test_content_types_that_are_taken(bench, content_type):
    assert bench.post("initiateAuthentication", body_of(bench), {"Content-Type": content_type}).status == 200


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/x-gsma-rsp-asn1",
        "application/json;charset=latin-1",
        "json",
        "application/jsonp",
    ],
)
def test_content_types_that_are_refused(bench, content_type):
    assert bench.post("initiateAuthentication", body_of(bench), {"Content-Type": content_type}).status == 415


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_other_methods_are_refused(bench, method):
    response = bench.post("initiateAuthentication", b"", method=method)
    assert response.status == 405
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/gsma/rsp2/es9plus/",
        "/gsma/rsp2/es9plus/other",
        "/gsma/rsp2/es9plus/initiateAuthentication/",
        "/gsma/rsp2/asn1/",
    ],
)
def test_other_paths_are_not_there(bench, path):
    assert bench.post(path, body_of(bench)).status == 404


MALFORMED = {
    "nothing": b"",
    "no JSON": b"euiccChallenge=1",
    "cut": b'{"euiccChallenge": "AA',
    "not UTF-8": b'{"euiccChallenge": "\xff"}',
    "a list": b"[]",
    "null": b"null",
    "an empty object": b"{}",
    "nested deeply": b"[" * 50_000,
    "a huge number": b"1" * 10_000,
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_a_body_that_is_no_request(bench, body):
    response = bench.post("initiateAuthentication", body)
    assert response.status == 400
    assert response.body.startswith(b"malformed request")
    assert b"Traceback" not in response.body


@pytest.mark.parametrize("name", ["euiccChallenge", "euiccInfo1", "smdpAddress"])
@pytest.mark.parametrize("value", [None, 7, ["x"], {"a": 1}, True])
def test_a_field_that_is_missing_or_of_another_type(bench, name, value):
    response = bench.post("initiateAuthentication", body_of(bench, **{name: value}))
    assert response.status == 400
    assert name.encode() in response.body


@pytest.mark.parametrize(
    "changes",
    [
        {"euiccChallenge": "AAAA"},
        {"euiccChallenge": "no base64!"},
        {"euiccInfo1": ""},
        {"euiccInfo1": base64.b64encode(bytes.fromhex("BF2005820302")).decode()},
        {"euiccInfo1": base64.b64encode(bytes.fromhex("BF2200")).decode()},
        {"euiccInfo1": base64.b64encode(bytes.fromhex("BF2000")).decode()},
        {"euiccInfo1": base64.b64encode(bytes.fromhex("BF200A 8202 0205 A900 AA00 8000")).decode()},
        {"euiccInfo1": base64.b64encode(bytes.fromhex("BF2080")).decode()},
    ],
)
def test_bytes_that_are_not_what_the_field_says(bench, changes):
    assert bench.post("initiateAuthentication", body_of(bench, **changes)).status == 400


@pytest.mark.parametrize(
    "payload", [b"", b"\xbf\x38\x00", b"\xbf\x38\x02\xa0\x00", b"\xbf\x38\x02\xa2\x00", b"\x30\x00"]
)
def test_a_malformed_payload_leaves_the_session_as_it_was(bench, payload):
    euicc = bench.euicc()
    opened = bench.initiate(euicc)
    body = {
        "transactionId": opened["transactionId"],
        "authenticateServerResponse": base64.b64encode(payload).decode(),
    }
    assert bench.post("authenticateClient", body).status == 400
    response = euicc.authenticate(opened)
    answer = bench.call(
        "authenticateClient", transactionId=opened["transactionId"], authenticateServerResponse=response
    )
    assert answer.status == "Executed-Success"


def test_key_order_blanks_and_unknown_members_do_not_matter(bench):
    fields = body_of(bench, header={"functionCallIdentifier": "1"}, somethingNew=[1, {"a": None}])
    text = json.dumps(dict(reversed(fields.items())), indent=3).replace("\n", "\r\n\t")
    assert bench.post("initiateAuthentication", text.encode()).status == 200


def test_a_body_over_the_limit(bench):
    response = bench.post("initiateAuthentication", b" " * (MAX_BODY + 1))
    assert response.status == 413
    fields = json.dumps(body_of(bench)).encode()
    assert bench.post("initiateAuthentication", fields + b" " * (MAX_BODY - len(fields))).status == 200


@pytest.mark.parametrize("failure", [ZeroDivisionError("secret"), RigError("the store failed: secret")])
def test_a_defect_is_500_and_shows_nothing_of_the_inside(bench, failure, caplog):
    async def handle(function, fields):
        raise failure

    headers = {"Content-Type": "application/json"}
    url = "https://testsmdpplus1.example.com/gsma/rsp2/es9plus/initiateAuthentication"
    body = json.dumps(body_of(bench)).encode()
    with caplog.at_level(logging.ERROR):
        response = asyncio.run(asgi.call(es9_app(handle), "POST", url, headers, body))
    assert response.status == 500
    assert b"secret" not in response.body
    assert "secret" in caplog.text


def test_the_virtual_loop_needs_no_thread_and_no_time(bench):
    async def main():
        url = "https://testsmdpplus1.example.com/gsma/rsp2/es9plus/initiateAuthentication"
        body = json.dumps(body_of(bench)).encode()
        response = await asgi.call(bench.smdp.app, "POST", url, {"content-type": "application/json"}, body)
        return response.status, clock.now()

    assert clock.run_virtual(main()) == (200, 0.0)


def test_the_servers_lifespan_is_answered(bench):
    async def main():
        incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        sent = []

        async def receive():
            return incoming.pop(0)

        async def send(message):
            sent.append(message["type"])

        await bench.smdp.app({"type": "lifespan"}, receive, send)
        return sent

    assert asyncio.run(main()) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.parametrize(
    ("function", "payload"),
    [
        ("authenticateClient", "authenticateServerResponse"),
        ("getBoundProfilePackage", "prepareDownloadResponse"),
        ("cancelSession", "cancelSessionResponse"),
    ],
)
def test_an_unknown_transaction_is_named_whatever_comes_with_it(bench, function, payload):
    response = bench.post(function, {"transactionId": "00FF", payload: "AAAA"})
    assert response.status == 200
    data = json.loads(response.body)["header"]["functionExecutionStatus"]["statusCodeData"]
    assert (data["subjectCode"], data["reasonCode"]) == ("8.10.1", "3.9")
