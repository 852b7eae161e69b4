"""ESipa over HTTP: paths, headers, statuses, bodies of any size and content."""

import asyncio
import base64
import json
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esim_bench.codec import esipa
from esim_bench.codec.euicc_operations import ListProfileInfo
from esim_bench.codec.sgp32 import Version
from esim_bench.servers import asgi
from esim_bench.servers.eim import Limits, PackageOrder

PATH = "/gsma/rsp2/asn1"
FUNCTION = "/gsma/rsp2/esipa/getEimPackage"
LIST = PackageOrder((ListProfileInfo(),))


def request_for(euicc):
    return esipa.encode_request("getEimPackage", {"eidValue": euicc.eid})


@pytest.mark.parametrize(
    ("path", "change", "status"),
    [
        (PATH, {}, 200),
        (PATH, {"x-admin-protocol": "gsma/rsp/v1.3.0"}, 200),
        (PATH, {"x-admin-protocol": "gsma/rsp/v2.4.0"}, 200),
        (PATH, {"x-admin-protocol": "gsma/rsp2"}, 400),
        (PATH, {"content-type": "application/json"}, 415),
        (PATH, {"content-type": ""}, 415),
        (FUNCTION, {}, 415),
        ("/gsma/rsp2/esipa/transferEimPackage", {}, 404),
        ("/gsma/rsp2/es9plus/initiateAuthentication", {}, 404),
        ("/", {}, 404),
    ],
)
def test_paths_and_headers_decide_the_status(bench, shapes, path, change, status):
    answer = bench.post(path, {**shapes.ASN1, **change}, request_for(bench.euicc()))
    assert answer.status == status
    if status == 200:
        assert answer.headers["content-type"] == "application/x-gsma-rsp-asn1"
        assert answer.headers["x-admin-protocol"] == "gsma/rsp/v2.1.0"


def test_other_methods_are_refused(bench):
    answer = asyncio.run(asgi.call(bench.eim.app, "GET", "https://testeim1.example.com" + PATH, {}, b""))
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_json_has_base64_and_codes(bench, shapes):
    euicc = bench.euicc()
    body = json.dumps({"eidValue": euicc.eid.hex()}).encode()
    nothing = bench.post(FUNCTION, shapes.JSON, body)
    assert json.loads(nothing.body)["eimPackageError"] == 1
    bench.eim.order(euicc.eid, LIST)
    document = json.loads(bench.post(FUNCTION, shapes.JSON, body).body)
    assert document["header"]["functionExecutionStatus"]["status"] == "Executed-Success"
    assert base64.b64decode(document["euiccPackageRequest"])[:2] == b"\xbf\x51"


@pytest.mark.parametrize("binding", ["asn1", "json"])
@pytest.mark.parametrize(("eid", "code"), [(b"\x89" + bytes(15), 2), (b"\xab" * 16, 3), (b"\x89" * 4, 3), (None, 4)])
def test_an_eid_that_is_unknown_wrong_or_missing_has_its_code(bench, shapes, binding, eid, code, caplog):
    with caplog.at_level(logging.WARNING, "esim_bench.servers.eim"):
        if binding == "asn1":
            body = shapes.t(0xBF4F, b"" if eid is None else shapes.t(0x5A, eid))
            answer = bench.post(PATH, shapes.ASN1, body)
            assert answer.body == bytes.fromhex("BF4F030201") + bytes((code,))
        else:
            document = {} if eid is None else {"eidValue": eid.hex()}
            answer = bench.post(FUNCTION, shapes.JSON, json.dumps(document).encode())
            assert json.loads(answer.body)["eimPackageError"] == code
    assert "getEimPackage" in caplog.text


def test_v1_0_has_undefined_error_for_all_of_them(bench_of, shapes):
    bench = bench_of(version=Version.V1_0_1)
    answer = bench.post(PATH, shapes.ASN1, shapes.t(0xBF4F, shapes.t(0x5A, b"\x89" + bytes(15))))
    assert answer.body.hex() == "bf4f0302017f"


def test_an_oversized_body_is_refused_before_it_is_read(bench_of, shapes, caplog):
    bench = bench_of(limits=Limits(body_bytes=1000))
    with caplog.at_level(logging.WARNING, "esim_bench.servers.eim"):
        assert bench.post(PATH, shapes.ASN1, bytes(1001)).status == 413
    assert "too large" in caplog.text


def test_a_slow_client_is_let_go(bench_of, shapes):
    from concurrent.futures import ThreadPoolExecutor

    from esim_bench.servers.eim import http

    with ThreadPoolExecutor(1) as executor:
        bench = bench_of(executor=executor)
        app = http.esipa_app(bench.eim.handle, bench.eim._after, bench.version, max_body=1000, body_seconds=0.01)
        sent = []

        async def receive():
            await asyncio.sleep(10)

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": PATH,
            "headers": [(b"content-type", b"application/x-gsma-rsp-asn1")],
        }
        asyncio.run(app(scope, receive, send))
        assert sent[0]["status"] == 408
        # The worker thread serves as well as the loop itself.
        ipa = bench.ipa()
        bench.eim.order(ipa.euicc.eid, LIST)
        assert ipa.poll() == ["euiccPackageRequest"]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    body=st.binary(max_size=80),
    tag=st.sampled_from([b"", b"\xbf\x4f", b"\xbf\x50", b"\xbf\x3d", b"\xbf\x39", b"\xbf\x4e"]),
)
def test_no_bytes_make_the_eim_fail(bench, shapes, body, tag):
    body = tag + bytes((len(body),)) + body if tag else body
    assert bench.post(PATH, shapes.ASN1, body).status in (200, 204, 400)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    function=st.sampled_from(["getEimPackage", "provideEimPackageResult", "handleNotification", "cancelSession"]),
    document=st.dictionaries(
        st.sampled_from(["eidValue", "eimPackageResult", "pendingNotification", "transactionId", "rPLMN"]),
        st.one_of(
            st.none(),
            st.integers(),
            st.text(max_size=8),
            st.binary(max_size=9).map(lambda b: base64.b64encode(b).decode()),
        ),
    ),
)
def test_no_json_makes_the_eim_fail(bench, shapes, function, document):
    answer = bench.post("/gsma/rsp2/esipa/" + function, shapes.JSON, json.dumps(document).encode())
    assert answer.status in (200, 204, 400)


def test_state_changes_and_the_network_are_kept_in_the_view(bench):
    ipa = bench.ipa()
    bench.eim.order(ipa.euicc.eid, LIST)
    ipa.poll()
    assert bench.eim.view(ipa.euicc.eid).complete
    ipa.get(notifyStateChange=True, stateChangeCause=1, rPLMN=bytes.fromhex("62F210"))
    view = bench.eim.view(ipa.euicc.eid)
    assert (view.state_changed, view.state_change_cause, view.network) == (True, 1, bytes.fromhex("62F210"))
    assert not view.complete
    bench.eim.order(ipa.euicc.eid, LIST)
    ipa.poll()
    assert not bench.eim.view(ipa.euicc.eid).state_changed
    assert bench.eim.device(ipa.euicc.eid).seen_ns == bench.now
