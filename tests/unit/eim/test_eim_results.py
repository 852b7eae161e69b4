"""Which results an eIM believes, and what it does with the others."""

import logging

import pytest

from esim_bench.codec import euicc_package
from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.esipa_objects import PackageResultError, acknowledged, acknowledgements
from esim_bench.codec.euicc_operations import Enable, ListProfileInfo, UpdateEim
from esim_bench.codec.euicc_results import OperationResult
from esim_bench.codec.ipa_data import IpaEuiccDataError
from esim_bench.codec.sgp32 import Version
from esim_bench.crypto.keys import Curve, generate
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.servers.eim import DataOrder, Limits, OrderState, PackageOrder

LIST = PackageOrder((ListProfileInfo(),))
REFUSED = {"provideEimPackageResultError": 127}


@pytest.fixture
def sent(bench):
    """An order that went out, its IPA, and the package."""
    ipa = bench.ipa()
    order = bench.eim.order(ipa.euicc.eid, LIST)
    return order, ipa, ipa.get()["euiccPackageRequest"]


def test_acknowledgements_are_known_bytes(bench, shapes):
    ipa = bench.ipa()
    first = ipa.euicc.notification(0x40, shapes.SECOND)
    bench.eim.order(ipa.euicc.eid, LIST)
    result = shapes.PackageResult(ipa.answer(ipa.get()), (first,)).encode()
    body = shapes.t(0xBF50, shapes.t(0x5A, ipa.euicc.eid), result)
    answer = bench.post("/gsma/rsp2/asn1", shapes.ASN1, body)
    assert answer.body.hex().upper() == "BF5009BF5306800102800101"


def test_nothing_to_acknowledge_is_an_empty_sequence(bench, shapes):
    ipa = bench.ipa()
    bench.eim.order(ipa.euicc.eid, DataOrder((0x81,)))
    body = shapes.t(0xBF50, shapes.t(0x5A, ipa.euicc.eid), ipa.answer(ipa.get()))
    assert bench.post("/gsma/rsp2/asn1", shapes.ASN1, body).body.hex() == "bf50023000"


def test_a_result_with_another_signature_changes_nothing(bench, sent, caplog):
    order, ipa, package = sent
    own, ipa.euicc.key = ipa.euicc.key, generate(Curve.P256, SeededRandomness("thief"))
    counter = ipa.euicc.counter
    with caplog.at_level(logging.WARNING, "esim_bench.servers.eim"):
        assert ipa.provide(ipa.euicc.load(package)) == REFUSED
    assert "the signature does not hold" in caplog.text
    assert bench.eim.find_order(order.id).state is OrderState.SENT
    ipa.euicc.key, ipa.euicc.counter = own, counter
    assert "eimAcknowledgements" in ipa.provide(ipa.euicc.load(package))


def test_each_flipped_bit_of_a_result_is_refused(bench_of):
    bench = bench_of(limits=Limits(bad_signatures=10_000))
    ipa = bench.ipa()
    order = bench.eim.order(ipa.euicc.eid, LIST)
    result = ipa.answer(ipa.get())
    for place in range(3, len(result), 5):
        for bit in (1, 0x80):
            spoilt = bytearray(result)
            spoilt[place] ^= bit
            fields = {"eidValue": ipa.euicc.eid, "eimPackageResult": bytes(spoilt)}
            answer = _provide_raw(bench, fields)
            assert answer in (400, 127), place
    assert bench.eim.find_order(order.id).state is OrderState.SENT
    assert "eimAcknowledgements" in ipa.provide(result)


def _provide_raw(bench, fields):
    from esim_bench.codec import tlv

    body = tlv.encode(0xBF50, tlv.encode(0x5A, fields["eidValue"]), fields["eimPackageResult"])
    headers = {"content-type": "application/x-gsma-rsp-asn1"}
    answer = bench.post("/gsma/rsp2/asn1", headers, body)
    return answer.status if answer.status != 200 else answer.body[-1]


def test_the_token_is_part_of_what_is_signed(bench, sent):
    order, ipa, _ = sent
    ipa.euicc.token += 1
    result = ipa.euicc.result(2, order.transaction_id, [OperationResult("listProfileInfo")])
    assert ipa.provide(result) == REFUSED


def test_the_result_of_another_euicc_or_eim_is_refused(bench, sent):
    order, ipa, _package = sent
    other = bench.ipa(bench.euicc(2))
    other.euicc.token = ipa.euicc.token
    sent_order = bench.eim.find_order(order.id)
    theirs = other.euicc.result(2, sent_order.transaction_id, [OperationResult("listProfileInfo")])
    assert ipa.provide(theirs) == REFUSED
    ipa.euicc.eim_id = "testeim2"
    assert ipa.provide(ipa.euicc.result(2, sent_order.transaction_id, [OperationResult("listProfileInfo")])) == REFUSED
    assert bench.eim.find_order(order.id).state is OrderState.SENT


def test_a_sequence_number_that_does_not_grow_is_discarded(bench, sent):
    _order, ipa, package = sent
    ipa.provide(ipa.euicc.load(package))
    second = bench.eim.order(ipa.euicc.eid, LIST)
    ipa.get()
    transaction = bench.eim.find_order(second.id).transaction_id
    old = ipa.euicc.result(3, transaction, [OperationResult("listProfileInfo")], seq=1)
    assert ipa.provide(old) == REFUSED
    assert bench.eim.find_order(second.id).state is OrderState.SENT


def test_results_that_arrive_in_another_order_close_their_own_orders(bench):
    """The first one was given up by hand; its result comes before that of the second."""
    ipa = bench.ipa()
    first, second = (bench.eim.order(ipa.euicc.eid, LIST) for _ in range(2))
    package = ipa.get()["euiccPackageRequest"]
    bench.eim.cancel(first.id)
    results = [ipa.euicc.load(package), ipa.euicc.load(ipa.get()["euiccPackageRequest"])]
    assert ipa.provide(results[0])
    assert ipa.provide(results[1])
    assert [bench.eim.find_order(order.id).state for order in (first, second)] == [OrderState.DONE] * 2
    # Backwards, the older one is discarded: its sequence number is below.
    assert acknowledged(ipa.provide(results[0])["eimAcknowledgements"]) == (1,)


@pytest.mark.parametrize(("code", "name"), [(3, "invalidEid"), (6, "counterValueOutOfRange"), (104, "ecallActive")])
def test_a_signed_error_fails_the_order_by_its_name(bench, sent, code, name):
    order, ipa, package = sent
    error = ipa.euicc.error(euicc_package.EuiccPackageRequest.parse(package), code)
    assert ipa.provide(error) == {}
    closed = bench.eim.find_order(order.id)
    assert (closed.state, closed.outcome, closed.verified) == (OrderState.FAILED, name, True)
    assert ipa.provide(error) == {}
    assert ipa.get() == {"eimPackageError": 1}


def test_a_signed_error_of_an_earlier_package_changes_nothing(bench, sent):
    _order, ipa, package = sent
    error = ipa.euicc.error(euicc_package.EuiccPackageRequest.parse(package), 104)
    ipa.provide(error)
    second = bench.eim.order(ipa.euicc.eid, LIST)
    ipa.get()
    assert ipa.provide(error) == {}
    assert bench.eim.find_order(second.id).state is OrderState.SENT


def test_an_unsigned_error_fails_the_order_until_a_verified_result_says_otherwise(bench, sent):
    order, ipa, package = sent
    transaction = bench.eim.find_order(order.id).transaction_id
    forged = euicc_package.unsigned_error("testeim1", transaction, ipa.euicc.token)
    assert ipa.provide(forged) == {}
    closed = bench.eim.find_order(order.id)
    assert (closed.state, closed.outcome, closed.verified) == (OrderState.FAILED, "unsigned error", False)
    ipa.provide(ipa.euicc.load(package))
    assert bench.eim.find_order(order.id).state is OrderState.DONE
    ipa.provide(forged)
    assert bench.eim.find_order(order.id).state is OrderState.DONE


def test_an_unsigned_error_tells_of_another_token(bench, sent):
    order, ipa, package = sent
    ipa.euicc.token = 9
    ipa.provide(ipa.euicc.load(package))
    assert "another associationToken" in bench.eim.find_order(order.id).outcome


@pytest.mark.parametrize("code", [1, 2, 127])
def test_an_error_of_the_ipa_fails_the_order(bench, sent, code):
    order, ipa, _ = sent
    error = PackageResultError(code, bench.eim.find_order(order.id).transaction_id)
    assert ipa.provide(error.encode()) == {}
    assert bench.eim.find_order(order.id).outcome == f"IPA: {error.name}"


def test_a_data_request_that_cannot_be_served_fails(bench):
    ipa = bench.ipa()
    order = bench.eim.order(ipa.euicc.eid, DataOrder((0x81,)))
    ipa.get()
    transaction = bench.eim.find_order(order.id).transaction_id
    ipa.provide(IpaEuiccDataError(104, transaction).encode())
    assert bench.eim.find_order(order.id).outcome == "ecallActive"


def test_an_answer_to_nothing_is_refused(bench):
    ipa = bench.ipa()
    assert ipa.provide(PackageResultError(1, b"\x01").encode()) == REFUSED
    assert ipa.provide(IpaEuiccDataError(1, b"\x01").encode()) == REFUSED
    assert ipa.provide(euicc_package.unsigned_error("testeim1")) == REFUSED


def test_bad_signatures_are_throttled_for_their_sender_only(bench_of):
    bench = bench_of(limits=Limits(bad_signatures=3))
    ipa, other = bench.ipa(bench.euicc(1)), bench.ipa(bench.euicc(2))
    for each in (ipa, other):
        bench.eim.order(each.euicc.eid, LIST)
    good = ipa.answer(ipa.get())
    ipa.euicc.key = generate(Curve.P256, SeededRandomness("thief"))
    for _ in range(3):
        assert ipa.provide(ipa.euicc.result(2, None, [])) == REFUSED
    assert ipa.provide(good) == REFUSED
    assert other.poll() == ["euiccPackageRequest"]
    bench.wait(601)
    assert "eimAcknowledgements" in ipa.provide(good)


def test_a_rollback_replaces_the_result_and_the_view(bench, shapes):
    ipa = bench.ipa()
    order = bench.eim.order(ipa.euicc.eid, PackageOrder((Enable(shapes.SECOND, rollback=True),)))
    bench.eim.order(ipa.euicc.eid, LIST)
    ipa.euicc.execute(Enable(shapes.FIRST))
    result = ipa.answer(ipa.get())
    ipa.provide(result)
    view = bench.eim.view(ipa.euicc.eid)
    assert view.enabled_iccid == shapes.SECOND
    transaction = bench.eim.find_order(order.id).transaction_id
    rolled = ipa.euicc.result(2, transaction, [OperationResult("enable"), OperationResult("rollback")])
    assert "eimAcknowledgements" in ipa.provide(rolled)
    closed = bench.eim.find_order(order.id)
    assert (closed.state, closed.outcome) == (OrderState.FAILED, "rollback: ok")
    assert bench.eim.view(ipa.euicc.eid).enabled_iccid != shapes.SECOND


def test_a_rollback_alone_closes_the_order(bench, shapes):
    ipa = bench.ipa()
    bench.eim.order(ipa.euicc.eid, LIST)
    ipa.poll()
    order = bench.eim.order(ipa.euicc.eid, PackageOrder((Enable(shapes.SECOND, rollback=True),)))
    ipa.answer(ipa.get())
    transaction = bench.eim.find_order(order.id).transaction_id
    ipa.provide(ipa.euicc.result(3, transaction, [OperationResult("rollback")]))
    assert bench.eim.find_order(order.id).outcome == "rollback: ok"
    assert bench.eim.view(ipa.euicc.eid).enabled_iccid == shapes.FIRST


def test_a_rollback_that_failed_is_taken_too(bench, shapes):
    ipa = bench.ipa()
    order = bench.eim.order(ipa.euicc.eid, PackageOrder((Enable(shapes.SECOND, rollback=True),)))
    ipa.provide(ipa.answer(ipa.get()))
    transaction = bench.eim.find_order(order.id).transaction_id
    failed = ipa.euicc.result(2, transaction, [OperationResult("enable"), OperationResult("rollback", 127)])
    assert "eimAcknowledgements" in ipa.provide(failed)
    assert bench.eim.find_order(order.id).outcome == "rollback: undefinedError"
    assert bench.eim.view(ipa.euicc.eid).enabled_iccid == shapes.SECOND


def test_another_ci_to_sign_under_means_another_chain(bench):
    ipa = bench.ipa()
    change = UpdateEim(EimConfigurationData("testeim1", ci_pk_id=b"\x01" * 20))
    bench.eim.order(ipa.euicc.eid, PackageOrder((change,)))
    bench.eim.order(ipa.euicc.eid, LIST)
    assert ipa.poll() == ["euiccPackageRequest", "ipaEuiccDataRequest", "euiccPackageRequest"]
    assert bench.eim.device(ipa.euicc.eid).ci_pk_id == b"\x01" * 20


def test_a_verified_result_of_no_known_order_is_kept_and_moves_the_counter(bench):
    """As after the eIM's file was restored from a copy: the eUICC knows of more packages."""
    ipa = bench.ipa()
    stray = ipa.euicc.result(40, b"\x01", [OperationResult("listEim")])
    ipa.euicc.counter = 40
    assert acknowledged(ipa.provide(stray)["eimAcknowledgements"]) == (1,)
    assert bench.eim.device(ipa.euicc.eid).counter == 41
    order = bench.eim.order(ipa.euicc.eid, LIST)
    ipa.poll()
    assert bench.eim.find_order(order.id).state is OrderState.DONE


def test_an_order_with_fewer_results_than_operations_is_not_done(bench, shapes):
    ipa = bench.ipa()
    order = bench.eim.order(ipa.euicc.eid, PackageOrder((Enable(shapes.SECOND), ListProfileInfo())))
    ipa.get()
    transaction = bench.eim.find_order(order.id).transaction_id
    results = [OperationResult("enable"), OperationResult("processingTerminated", 3)]
    ipa.provide(ipa.euicc.result(2, transaction, results))
    closed = bench.eim.find_order(order.id)
    assert (closed.state, closed.outcome) == (OrderState.FAILED, "processingTerminated: interruption")
    assert bench.eim.view(ipa.euicc.eid).enabled_iccid == shapes.SECOND


@pytest.mark.parametrize("binding", ["asn1", "json"])
def test_the_eid_is_looked_for(bench, shapes, binding):
    ipa = bench.ipa(binding=binding)
    bench.eim.order(ipa.euicc.eid, LIST)
    result = ipa.answer(ipa.get())
    assert ipa.call("provideEimPackageResult", eidValue=bytes.fromhex("89" + "00" * 15), eimPackageResult=result) == {
        "provideEimPackageResultError": 2
    }
    # Without an EID, the transaction tells whose it is.
    assert "eimAcknowledgements" in ipa.provide(result, eid=False)
    nobody = PackageResultError(1).encode()
    assert ipa.provide(nobody, eid=False) == {"provideEimPackageResultError": 4}


def test_v1_0_refuses_without_an_error(bench_of):
    bench = bench_of(version=Version.V1_0_1)
    ipa = bench.ipa()
    bench.eim.order(ipa.euicc.eid, LIST)
    good = ipa.answer(ipa.get())
    ipa.euicc.token += 1
    assert ipa.provide(ipa.euicc.result(2, bench.eim.orders()[0].transaction_id, [])) == {}
    assert ipa.provide(good)["eimAcknowledgements"] == acknowledgements((1,))
