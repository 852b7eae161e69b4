"""Whatever bytes come: an answer of the standard or HTTP 400, never a defect, and never a package."""

import base64
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True), st.sampled_from(["flip", "set", "cut", "insert"]), st.integers(0, 255)
    ),
    min_size=1,
    max_size=4,
)


def spoil(data, edits):
    out = bytearray(data)
    for place, kind, value in edits:
        position = int(place * len(out))
        if kind == "flip" and out:
            out[position] ^= 1 << value % 8
        elif kind == "set" and out:
            out[position] = value
        elif kind == "cut":
            del out[position : position + value]
        else:
            out.insert(position, value)
    return bytes(out)


@pytest.fixture
def requests(bench):
    """One good request of each function, made without touching the order."""
    euicc = bench.euicc()
    opened = bench.initiate(euicc)
    transaction_id = opened["transactionId"]
    response = euicc.authenticate(opened)
    offered = bench.call("authenticateClient", transactionId=transaction_id, authenticateServerResponse=response)
    return {
        "initiateAuthentication": ("euiccInfo1", euicc.info1(), {"euiccChallenge": b"c" * 16, "smdpAddress": "x"}),
        "authenticateClient": ("authenticateServerResponse", response, {"transactionId": transaction_id}),
        "getBoundProfilePackage": (
            "prepareDownloadResponse",
            euicc.prepare(offered),
            {"transactionId": transaction_id},
        ),
        "cancelSession": ("cancelSessionResponse", euicc.cancel(), {"transactionId": transaction_id}),
        "handleNotification": ("pendingNotification", euicc.notification("enable", 3), {}),
    }


@ANY
@given(
    function=st.sampled_from(["initiateAuthentication", "authenticateClient", "cancelSession", "handleNotification"]),
    edits=EDITS,
)
def test_spoilt_payloads(bench, requests, function, edits):
    name, payload, others = requests[function]
    fields = {name: spoil(payload, edits), **others}
    body = {k: base64.b64encode(v).decode() if isinstance(v, bytes) else v for k, v in fields.items()}
    response = bench.post(function, body)
    assert response.status in (200, 204, 400), response.body


@ANY
@given(edits=EDITS)
def test_spoilt_second_signatures_yield_no_package(bench, requests, edits):
    name, payload, others = requests["getBoundProfilePackage"]
    spoilt = spoil(payload, edits)
    body = {name: base64.b64encode(spoilt).decode(), **others}
    response = bench.post("getBoundProfilePackage", body)
    assert response.status in (200, 400), response.body
    if spoilt != payload:
        assert b"boundProfilePackage" not in response.body


@ANY
@given(seed=st.integers(0, 3), edits=EDITS)
def test_spoilt_certificates_in_a_signed_answer(bench, seed, edits):
    euicc = bench.euicc()
    which = seed % 2
    good = list(euicc.certificates)
    euicc.certificates[which] = spoil(good[which], edits)
    opened = bench.initiate(euicc)
    body = {
        "transactionId": opened["transactionId"],
        "authenticateServerResponse": base64.b64encode(euicc.authenticate(opened)).decode(),
    }
    response = bench.post("authenticateClient", body)
    assert response.status in (200, 400), response.body
    if euicc.certificates != good:
        assert b"profileMetadata" not in response.body


@ANY
@given(
    document=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["euiccChallenge", "euiccInfo1", "smdpAddress", "header"]), inner, max_size=4
            )
        ),
        max_leaves=8,
    )
)
def test_any_json(bench, document):
    assert bench.post("initiateAuthentication", json.dumps(document).encode()).status == 400


@ANY
@given(body=st.binary(max_size=200))
def test_any_bytes(bench, body):
    assert bench.post("handleNotification", body).status == 400
