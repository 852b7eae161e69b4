"""Download triggers, their results, indirect downloads through a relay, and packages that are pushed."""

import asyncio
from dataclasses import replace

import pytest

from esim_bench.codec import esipa
from esim_bench.codec.download_trigger import ProfileDownloadTrigger, ProfileDownloadTriggerResult
from esim_bench.codec.esipa import EsipaError
from esim_bench.codec.esipa_objects import acknowledged
from esim_bench.codec.euicc_operations import ListProfileInfo
from esim_bench.codec.sgp32 import Version
from esim_bench.crypto.keys import Curve, generate
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import ConfigError, TransportError
from esim_bench.servers.eim import DownloadOrder, OrderState, PackageOrder

CODE = "1$testsmdpplus1.example.com$ABC"
LIST = PackageOrder((ListProfileInfo(),))


class FakeRelay:
    """Notes what it is asked; knows one session."""

    def __init__(self, answers=None, own=None):
        self.asked = []
        self.answers = answers or {}
        self.own = own

    async def handle(self, function, fields, *, eid, session):
        self.asked.append((function, dict(fields), eid, session))
        if function == "handleNotification":
            return self.own if self.own else {}
        answer = self.answers.get(function, {})
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("order", "trigger"),
    [
        (DownloadOrder(activation_code=CODE), ProfileDownloadTrigger(activation_code=CODE)),
        (DownloadOrder(default_smdp=True), ProfileDownloadTrigger(default_smdp=True)),
        (DownloadOrder(smds=True), ProfileDownloadTrigger(smds=True)),
        (
            DownloadOrder(smds=True, smds_address="ds.example.com"),
            ProfileDownloadTrigger(smds=True, smds_address="ds.example.com"),
        ),
        (DownloadOrder(activation_code=CODE, held=True), ProfileDownloadTrigger()),
    ],
)
@pytest.mark.parametrize("binding", ["asn1", "json"])
def test_a_trigger_says_where_from(bench, order, trigger, binding):
    ipa = bench.ipa(binding=binding)
    placed = bench.eim.order(ipa.euicc.eid, order)
    assert placed.order == order
    if order.held:
        # What the relay needs to know is asked for first.
        ipa.provide(ipa.answer(ipa.get()))
    sent = ProfileDownloadTrigger.parse(ipa.get()["profileDownloadTriggerRequest"])
    assert sent.transaction_id == bench.eim.find_order(placed.id).transaction_id
    assert replace(sent, transaction_id=None) == trigger


@pytest.mark.parametrize("order", [DownloadOrder(), DownloadOrder(CODE, True), DownloadOrder(smds=True, held=True)])
def test_a_download_needs_one_source(bench, order):
    with pytest.raises(ConfigError, match="source of a download"):
        bench.eim.order(bench.euicc().eid, order)


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize("by_notification", [False, True])
def test_an_installation_is_verified_and_enters_the_view(bench_of, shapes, version, by_notification):
    bench = bench_of(version=version)
    ipa = bench.ipa()
    new = b"\x98" * 10
    order = bench.eim.order(ipa.euicc.eid, DownloadOrder(CODE))
    ipa.get()
    transaction = bench.eim.find_order(order.id).transaction_id
    result = ProfileDownloadTriggerResult(transaction, ipa.euicc.installation(new)).encode(version)
    if by_notification:
        fields = {"eimPackageResult": result}
        whole = esipa.encode_request("provideEimPackageResult", fields, version)
        ipa.call("handleNotification", provideEimPackageResult=whole)
    else:
        # The SM-DP+ got it from the IPA itself: nothing to acknowledge, nothing to deliver.
        assert ipa.provide(result) == {}
        assert ipa.provide(result) == {}
    closed = bench.eim.find_order(order.id)
    assert (closed.state, closed.outcome, closed.verified) == (OrderState.DONE, "ok", True)
    assert closed.download_result(version).install_result is not None
    assert bench.eim.view(ipa.euicc.eid).profile(new).state == "disabled"
    assert bench.servers.arrived == []


def test_a_failed_download_fails_its_order(bench):
    ipa = bench.ipa()
    first, second = (bench.eim.order(ipa.euicc.eid, DownloadOrder(CODE)) for _ in range(2))
    ipa.get()
    transaction = bench.eim.find_order(first.id).transaction_id
    assert ipa.provide(ProfileDownloadTriggerResult(transaction, error_reason=104).encode()) == {}
    assert bench.eim.find_order(first.id).outcome == "ecallActive"
    ipa.get()
    transaction = bench.eim.find_order(second.id).transaction_id
    failed = ipa.euicc.installation(b"\x98" * 10, ok=False)
    ipa.provide(ProfileDownloadTriggerResult(transaction, failed).encode())
    closed = bench.eim.find_order(second.id)
    assert closed.state is OrderState.FAILED
    assert closed.outcome != "ok"
    assert bench.eim.view(ipa.euicc.eid).profile(b"\x98" * 10) is None


def test_an_installation_by_somebody_else_is_refused(bench):
    ipa = bench.ipa()
    order = bench.eim.order(ipa.euicc.eid, DownloadOrder(CODE))
    ipa.get()
    transaction = bench.eim.find_order(order.id).transaction_id
    forged = ipa.euicc.installation(b"\x98" * 10, key=generate(Curve.P256, SeededRandomness("thief")))
    result = ProfileDownloadTriggerResult(transaction, forged).encode()
    assert ipa.provide(result) == {"provideEimPackageResultError": 127}
    assert bench.eim.find_order(order.id).state is OrderState.SENT


# ---------------------------------------------------------------------------------------------------- through the relay


def test_the_relay_gets_the_order_that_an_ipa_names(bench_of):
    refusal = EsipaError("initiateAuthentication", 3)
    relay = FakeRelay({"initiateAuthentication": refusal})
    bench = bench_of(relay=relay)
    ipa = bench.ipa()
    order = bench.eim.order(ipa.euicc.eid, DownloadOrder(CODE))
    ipa.get()
    transaction = bench.eim.find_order(order.id).transaction_id
    for named in (transaction, b"\x01"):
        with pytest.raises(EsipaError) as caught:
            ipa.call("initiateAuthentication", euiccChallenge=bytes(16), eimTransactionId=named)
        assert caught.value.number == 3
    assert relay.asked[0][2:] == (ipa.euicc.eid, bench.eim.find_order(order.id))
    assert relay.asked[1][2:] == (None, None)


def test_the_connection_tells_the_order_where_the_ipa_does_not(bench_of):
    relay = FakeRelay()
    bench = bench_of(relay=relay)
    ipa = bench.ipa()
    order = bench.eim.order(ipa.euicc.eid, DownloadOrder(CODE))

    async def talk():
        await bench.eim.handle("getEimPackage", {"eidValue": ipa.euicc.eid}, ("192.0.2.1", 4711))
        await bench.eim.handle("initiateAuthentication", {"euiccChallenge": bytes(16)}, ("192.0.2.1", 4711))
        await bench.eim.handle("initiateAuthentication", {"euiccChallenge": bytes(16)}, ("192.0.2.2", 4711))

    asyncio.run(talk())
    assert [session and session.id for _, _, _, session in relay.asked] == [order.id, None]


@pytest.mark.parametrize("binding", ["asn1", "json"])
def test_without_relay_or_server_a_download_fails_by_its_code(bench_of, binding):
    for relay in (None, FakeRelay({"cancelSession": TransportError("no way")})):
        bench = bench_of(relay=relay)
        ipa = bench.ipa(binding=binding)
        cancelled = bytes.fromhex("BF4103810101")
        with pytest.raises(EsipaError) as caught:
            ipa.call("cancelSession", transactionId=b"\x01", cancelSessionResponse=cancelled)
        assert caught.value.number == 127


def test_an_installation_of_the_relays_session_is_delivered_by_the_eim(bench_of, shapes):
    bench = bench_of(relay=FakeRelay())
    ipa = bench.ipa()
    order = bench.eim.order(ipa.euicc.eid, DownloadOrder(CODE))
    ipa.get()
    installed = ipa.euicc.installation(b"\x98" * 10)
    bench.eim.relay.own = {"pendingNotification": installed, "eidValue": ipa.euicc.eid}
    transaction = bench.eim.find_order(order.id).transaction_id
    answer = ipa.provide(ProfileDownloadTriggerResult(transaction, installed).encode())
    assert acknowledged(answer["eimAcknowledgements"]) == (1,)
    assert [raw for _, raw in bench.servers.arrived] == [installed]
    # The same one, by itself.
    ipa.call("handleNotification", pendingNotification=installed)
    assert len(bench.servers.arrived) == 1


def test_an_installation_that_comes_as_a_notification_ends_the_download(bench_of):
    bench = bench_of(relay=FakeRelay())
    ipa = bench.ipa()
    order = bench.eim.order(ipa.euicc.eid, DownloadOrder(CODE))
    ipa.get()
    installed = ipa.euicc.installation(b"\x98" * 10)
    bench.eim.relay.own = {"pendingNotification": installed, "eidValue": ipa.euicc.eid}
    ipa.call("handleNotification", pendingNotification=installed)
    closed = bench.eim.find_order(order.id)
    assert (closed.state, closed.download_result().install_result) == (OrderState.DONE, installed)
    assert ipa.get() == {"eimPackageError": 1}
    assert [raw for _, raw in bench.servers.arrived] == [installed]
    forged = ipa.euicc.installation(b"\x97" * 10, key=generate(Curve.P256, SeededRandomness("thief")))
    bench.eim.relay.own = {"pendingNotification": forged, "eidValue": ipa.euicc.eid}
    ipa.call("handleNotification", pendingNotification=forged)
    assert len(bench.servers.arrived) == 1


def test_an_installation_of_no_session_is_not_delivered(bench_of):
    bench = bench_of(relay=FakeRelay())
    ipa = bench.ipa()
    ipa.call("handleNotification", pendingNotification=ipa.euicc.installation(b"\x98" * 10))
    assert bench.servers.arrived == []


# ----------------------------------------------------------------------------------------------------------------- push


def test_packages_are_pushed_and_their_results_taken(bench, shapes):
    ipa = bench.ipa(bench.euicc(known=False))
    order = bench.eim.order(ipa.euicc.eid, LIST)
    heard = []

    async def exchange(message):
        function, fields = esipa.decode_request(message)
        assert function == "transferEimPackage"
        heard.append(next(iter(fields)))
        if "eimAcknowledgements" in fields:
            return shapes.t(0xBF4E, b"\x05\x00")
        return esipa.encode_response("transferEimPackage", {"eimPackageResult": ipa.answer(fields)})

    assert asyncio.run(bench.eim.push(ipa.euicc.eid, exchange)) == 2
    assert heard == ["ipaEuiccDataRequest", "euiccPackageRequest", "eimAcknowledgements"]
    assert bench.eim.find_order(order.id).state is OrderState.DONE


@pytest.mark.parametrize(("answer", "state"), [("0500", OrderState.SENT), ("020102", OrderState.FAILED)])
def test_a_push_ends_with_received_or_an_error(bench, shapes, answer, state):
    euicc = bench.euicc()
    order = bench.eim.order(euicc.eid, LIST)

    async def exchange(message):
        return shapes.t(0xBF4E, bytes.fromhex(answer))

    assert asyncio.run(bench.eim.push(euicc.eid, exchange)) == 1
    assert bench.eim.find_order(order.id).state is state


def test_what_goes_to_the_ipa_is_not_served(bench, shapes):
    answer = bench.post(esipa.PATH, shapes.ASN1, bytes.fromhex("BF4E02BF5300"))
    assert answer.status == 400
