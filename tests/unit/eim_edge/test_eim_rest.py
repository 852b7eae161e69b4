"""The REST API of the eIM: inventory, associations, orders and results for a lab; nothing for those without a token."""

import asyncio
import base64
import json

import pytest

from esim_bench.codec import es10_iot, euicc_package
from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.euicc_results import OperationResult
from esim_bench.codec.identifiers import iccid_to_bytes
from esim_bench.codec.sgp32 import Version
from esim_bench.crypto import ecdsa
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.servers import asgi
from esim_bench.servers.eim import Eim, EimCredentials, SqliteEimStore
from esim_bench.servers.eim.rest import rest_app
from esim_bench.servers.pki import create_pki, make_eid

NOW_NS = 1_767_225_600_000_000_000
TOKEN = "correct horse battery staple"
PKI = create_pki(SeededRandomness("rest"), now_ns=NOW_NS)
EID = make_eid(1)
IDENTITY = PKI.issue_euicc(EID, SeededRandomness("e"))
ICCID = "89000123456789012341"
CODE = "LPA:1$testsmdpplus1.example.com$VERY-SECRET"


class Lab:
    """An eIM, its REST API, and the little of an eUICC that signs results."""

    def __init__(self, version=Version.V1_2, **options):
        self.now_ns = NOW_NS
        credentials = EimCredentials("testeim1.example.com", "testeim1.example.com", PKI.eim.key)
        store = SqliteEimStore(":memory:")
        self.eim = Eim(credentials, store, SeededRandomness("x"), self.now, version=version, trusted_cis=[PKI.ci_key])
        self.app = rest_app(self.eim, TOKEN, self.now, **options)

    def now(self):
        return self.now_ns

    def __call__(self, method, path, body=None, *, token=TOKEN, app=None, raw=None, **headers):
        headers = {"content-type": "application/json", **headers}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        url = f"https://testeim1.example.com{path if path.startswith('/') else '/api/v1/' + path}"
        answer = asyncio.run(asgi.call(app or self.app, method, url, headers, data))
        assert answer.headers["content-type"] == "application/json"
        return answer.status, json.loads(answer.body)

    def device(self, **more):
        branch = IDENTITY.signing[0]
        return self.ok(
            "POST",
            "devices",
            {
                "eid": EID.hex(),
                "euicc_certificate": base64.b64encode(branch.euicc_certificate).decode(),
                "eum_certificate": base64.b64encode(branch.eum_certificate).decode(),
                **more,
            },
        )

    def ok(self, *arguments, **options):
        status, document = self(*arguments, **options)
        assert status in (200, 201), document
        return document

    def error(self, *arguments, **options):
        status, document = self(*arguments, **options)
        assert set(document) == {"error"}
        return status, document["error"]

    def execute(self, *results):
        """Poll as the eUICC's IPA, and answer with signed results."""
        fields = asyncio.run(self.eim.handle("getEimPackage", {"eidValue": EID}))
        request = euicc_package.EuiccPackageRequest.parse(fields["euiccPackageRequest"], self.eim.version)
        signed = euicc_package.result_signed(request.eim_id, request.counter, 1, results, request.transaction_id)
        signature = ecdsa.sign(
            IDENTITY.signing[0].private_key, euicc_package.to_be_signed(signed, 7), deterministic=True
        )
        result = euicc_package.signed_result(signed, signature)
        asyncio.run(self.eim.handle("provideEimPackageResult", {"eidValue": EID, "eimPackageResult": result}))


@pytest.fixture
def lab():
    return Lab()


def order(lab, *operations):
    return lab("POST", f"devices/{EID.hex()}/orders", {"kind": "package", "operations": list(operations)})


# --------------------------------------------------------------------------------------------------------- day's work


def test_from_the_inventory_to_a_result(lab):
    assert lab.ok("GET", "eim") == {
        "eim_id": "testeim1.example.com", "id_type": 2, "fqdn": "testeim1.example.com", "version": "1.2",
    }  # fmt: skip
    assert lab.device(label="meter 1", indirect=True)["associated"] is False

    made = lab.ok("POST", f"devices/{EID.hex()}/configuration", {})
    configuration = EimConfigurationData.parse(base64.b64decode(made["configuration"]))
    assert (configuration.eim_id, configuration.association_token) == ("testeim1.example.com", -1)
    request = base64.b64decode(made["add_initial_eim"])
    assert es10_iot.initial_eims(request) == (configuration,)
    assert lab.ok("PUT", f"devices/{EID.hex()}/association", {"token": 7})["has_token"] is True

    status, ordered = order(lab, {"op": "enable", "iccid": ICCID, "rollback": True}, {"op": "listProfileInfo"})
    assert (status, ordered["state"]) == (201, "queued")
    assert ordered["ordered"]["operations"] == [
        {"op": "enable", "iccid": ICCID, "rollback": True},
        {"op": "listProfileInfo", "request": "BF2D00"},
    ]
    lab.execute(OperationResult("enable"), OperationResult("listProfileInfo", 11))
    done = lab.ok("GET", f"orders/{ordered['id']}")
    assert [(one["function"], one["name"]) for one in done["results"]] == [
        ("enable", "ok"),
        ("listProfileInfo", "profileChangeOngoing"),
    ]
    assert (done["state"], done["verified"]) == ("failed", True)

    shown = lab.ok("GET", f"devices/{EID.hex()}")
    assert (shown["label"], shown["view"]["enabled"]) == ("meter 1", ICCID)
    (result,) = lab.ok("GET", f"results?eid={EID.hex()}")["results"]
    assert (result["seq"], result["order"], result["raw"]) == (1, ordered["id"], done["raw"])
    events = [event["event"] for event in lab.ok("GET", "audit")["events"]]
    assert events == ["device added", "ordered", "sent", "closed", "result"]


def test_a_download_tells_nobody_its_matching_id(lab):
    lab.device()
    path = f"devices/{EID.hex()}/orders"
    made = lab.ok("POST", path, {"kind": "download", "activation_code": CODE, "held": True})
    assert made["ordered"]["activation_code"] == "LPA:1$testsmdpplus1.example.com$***"
    everything = json.dumps([lab.ok("GET", name) for name in (f"orders/{made['id']}", "orders", "audit")])
    assert "VERY-SECRET" not in everything
    assert "VERY-SECRET" not in lab.error("POST", path, {"kind": "download", "activation_code": [CODE]})[1]


def test_data_by_names_and_tags(lab):
    lab.device()
    path = f"devices/{EID.hex()}/orders"
    wanted = {"kind": "data", "tags": ["euiccInfo1", "bf22", "A8"], "notifications_seq": 3}
    assert lab.ok("POST", path, wanted)["ordered"] == {"tags": ["BF20", "BF22", "A8"]}
    status, text = lab.error("POST", path, {"kind": "data", "tags": ["5A"]})
    assert (status, "euiccInfo1" in text) == (422, True)


def test_orders_are_listed_page_by_page_and_cancelled(lab):
    lab.device()
    ids = [order(lab, {"op": "getRAT"})[1]["id"] for _ in range(3)]
    page = lab.ok("GET", "orders?limit=2")
    assert (page["more"], [one["id"] for one in page["orders"]]) == (True, ids[:2])
    assert [one["id"] for one in lab.ok("GET", f"orders?after={ids[1]}")["orders"]] == ids[2:]
    assert lab.ok("POST", f"orders/{ids[1]}/cancel")["state"] == "cancelled"
    assert lab.error("POST", f"orders/{ids[1]}/cancel")[0] == 409
    assert [one["id"] for one in lab.ok("GET", "orders?state=cancelled")["orders"]] == [ids[1]]
    assert lab.ok("GET", f"orders?eid={EID.hex()}&state=done")["orders"] == []


def test_a_new_signing_key_is_made_by_the_eim(lab):
    lab.device()
    made = lab.ok("POST", f"devices/{EID.hex()}/rotation")
    (operation,) = made["ordered"]["operations"]
    assert operation["op"] == "updateEim"
    configuration = EimConfigurationData.parse(base64.b64decode(operation["configuration"]))
    assert configuration.public_key is not None
    assert "PRIVATE" not in json.dumps(made)


OTHER = base64.b64encode(EimConfigurationData("other.example.com", fqdn="other.example.com").encode()).decode()
OPERATIONS = [
    {"op": "enable", "iccid": ICCID},
    {"op": "disable", "iccid": ICCID},
    {"op": "delete", "iccid": ICCID},
    {"op": "listProfileInfo", "iccid": ICCID, "tags": "5A9F70"},
    {"op": "getRAT"},
    {"op": "configureImmediateEnable", "enabled": True, "smdp_oid": "2.999.10", "smdp_address": "dp.example.com"},
    {"op": "setFallbackAttribute", "iccid": ICCID},
    {"op": "unsetFallbackAttribute"},
    {"op": "setDefaultDpAddress", "address": "dp.example.com"},
    {"op": "addEim", "configuration": OTHER},
    {"op": "deleteEim", "eim_id": "other.example.com"},
    {"op": "updateEim", "configuration": OTHER},
    {"op": "listEim"},
]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one["op"])
def test_every_operation_can_be_ordered(lab, operation):
    lab.device()
    status, made = order(lab, operation)
    assert (status, made["ordered"]["operations"][0]["op"]) == (201, operation["op"])
    kept = lab.eim.find_order(made["id"]).operations[0]
    assert operation["op"] == kept.NAME
    if operation["op"] in ("enable", "disable", "delete", "setFallbackAttribute"):
        assert kept.iccid == iccid_to_bytes(ICCID)


# ---------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "wrong",
    [
        {"op": "explode"},
        {"op": "enable"},
        {"op": "enable", "iccid": "12"},
        {"op": "enable", "iccid": 89000123456789012341},
        {"op": "enable", "iccid": ICCID, "rollback": "yes"},
        {"op": "enable", "iccid": ICCID, "more": 1},
        {"op": "addEim", "configuration": "?"},
        {"op": "addEim", "configuration": "MAA="},
        {"op": "deleteEim", "eim_id": ""},
        {"op": "listProfileInfo", "tags": "5"},
        {"op": "configureImmediateEnable", "smdp_oid": "9.9"},
        None,
    ],
)
def test_what_is_no_operation_is_refused(lab, wrong):
    lab.device()
    status, document = order(lab, wrong)
    assert (status, set(document)) == (422, {"error"})
    assert lab.eim.orders() == ()


def test_packages_that_make_no_sense(lab):
    lab.device()
    assert order(lab)[0] == 422
    assert order(lab, {"op": "getRAT"}, {"op": "listEim"})[0] == 422
    assert order(lab, *[{"op": "getRAT"}] * 65)[0] == 422
    path = f"devices/{EID.hex()}/orders"
    for wrong in (
        {"kind": "download"},
        {"kind": "download", "default_smdp": True, "smds": True},
        {"kind": "download", "default_smdp": True, "held": True},
        {"kind": "data", "tags": []},
        {"kind": "data", "tags": ["euiccInfo1"], "notifications_seq": 1, "notifications_events": []},
        {},
        [],
        "x",
    ):
        assert lab("POST", path, wrong)[0] == 422, wrong
    assert lab.eim.orders() == ()


def test_what_the_version_does_not_have():
    lab = Lab(Version.V1_0_1)
    lab.device()
    status, document = order(lab, {"op": "unsetFallbackAttribute"})
    assert (status, "1.1" in document["error"]) == (422, True)


def test_who_is_unknown_is_not_found(lab):
    nobody = make_eid(9).hex()
    for method, path, body in (
        ("GET", f"devices/{nobody}", None),
        ("POST", f"devices/{nobody}/orders", {"kind": "data", "tags": ["A8"]}),
        ("PUT", f"devices/{nobody}/association", {"token": 1}),
        ("POST", f"devices/{nobody}/configuration", {}),
        ("POST", f"devices/{nobody}/rotation", None),
        ("GET", f"results?eid={nobody}", None),
        ("GET", f"audit?eid={nobody}", None),
        ("GET", "orders/1", None),
        ("POST", "orders/1/cancel", None),
        ("GET", "elsewhere", None),
        ("GET", "devices/", None),
        ("GET", "/api/v1/docs", None),
        ("GET", "/gsma/rsp2/asn1", None),
    ):
        assert lab.error(method, path, body)[0] == 404, path
    assert lab.error("DELETE", "devices")[0] == 405
    assert lab.error("GET", "devices/89")[0] == 422


def test_lists_have_an_end(lab):
    for name in ("devices", "orders", "audit", "notifications"):
        assert lab.error("GET", f"{name}?limit=1001")[0] == 422
        assert lab.error("GET", f"{name}?limit=0")[0] == 422
    for number in range(3):
        lab.ok("POST", "devices", {"eid": make_eid(number).hex()})
    page = lab.ok("GET", "devices?limit=1&offset=1")
    assert (page["total"], [one["eid"] for one in page["devices"]]) == (3, [make_eid(1).hex()])


def test_a_certificate_of_another_euicc_is_refused(lab):
    status, _ = lab(
        "POST", "devices", {"eid": make_eid(2).hex(), "euicc_certificate": "AAAA", "eum_certificate": "AAAA"}
    )
    assert status == 422
    with pytest.raises(AssertionError):
        lab.device(eid=make_eid(2).hex())
    assert lab.ok("GET", "devices")["total"] == 0


# -------------------------------------------------------------------------------------------------------------- guard


@pytest.mark.parametrize("path", ["devices", "openapi.json", "elsewhere", "orders/1"])
@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", TOKEN[:-1], TOKEN.upper(), "\xff"])
def test_nothing_without_the_token(lab, path, token):
    assert lab.error("GET", path, token=token) == (401, "a bearer token is needed")


def test_another_scheme_is_not_taken(lab):
    assert lab("GET", "devices", token=None, authorization=f"Basic {TOKEN}")[0] == 401
    assert lab("GET", "devices", token=None, authorization=f"bearer {TOKEN}")[0] == 200


def from_host(app, host):
    async def wrapped(scope, receive, send):
        await app({**scope, "client": (host, 4711)}, receive, send)

    return wrapped


def test_guessing_ends_for_the_host_that_guesses(lab):
    guesser, other = from_host(lab.app, "192.0.2.1"), from_host(lab.app, "192.0.2.2")
    assert [lab("GET", "eim", token="guess", app=guesser)[0] for _ in range(12)] == [401] * 10 + [429] * 2
    # From there even the right one is not looked at; others go on.
    assert lab("GET", "eim", app=guesser)[0] == 429
    assert lab("GET", "eim", app=other)[0] == 200
    lab.now_ns += 61 * 10**9
    assert lab("GET", "eim", app=guesser)[0] == 200


def test_large_and_endless_bodies(lab):
    assert lab.error("POST", "devices", raw=b"x" * 65537)[0] == 413
    assert lab.error("POST", "devices", raw=b"{")[0] == 422
    assert lab("POST", "devices", raw=b"[" * 60000)[0] in (400, 422)
    impatient = Lab(body_seconds=0.05)
    told = []

    async def receive():
        await asyncio.sleep(60)

    async def send(message):
        told.append(message)

    headers = [(b"authorization", f"Bearer {TOKEN}".encode()), (b"content-length", b"10")]
    scope = {"type": "http", "method": "POST", "path": "/api/v1/devices", "headers": headers}
    asyncio.run(impatient.app(scope, receive, send))
    assert told[0]["status"] == 408


def test_a_defect_says_nothing_of_the_inside(lab, caplog):
    lab.eim.store.close()
    assert lab.error("GET", "devices") == (500, "internal error")
    assert "store failed" in caplog.text


def test_the_description_names_every_operation(lab):
    document = lab.ok("GET", "openapi.json")
    assert set(document["paths"]) >= {"/api/v1/devices", "/api/v1/devices/{eid}/orders", "/api/v1/orders/{order_id}"}
    names = {one["properties"]["op"]["const"] for one in document["components"]["schemas"].values() if "op" in one.get("properties", {})}  # noqa: E501  # fmt: skip
    assert names == {one["op"] for one in OPERATIONS}
    assert "HTTPBearer" in document["components"]["securitySchemes"]
