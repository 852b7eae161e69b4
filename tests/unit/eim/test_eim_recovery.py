"""What an eIM does when it lacks something: certificates, a result, an answer, the knowledge which key holds."""

import logging

import pytest

from esim_bench.clock import VIRTUAL_EPOCH_NS
from esim_bench.codec import ipa_data
from esim_bench.codec.euicc_operations import ListEim, ListProfileInfo
from esim_bench.codec.euicc_package import EuiccPackageRequest, unsigned_error
from esim_bench.codec.sgp32 import Version
from esim_bench.crypto.keys import Curve, generate
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import ConfigError, CryptoError
from esim_bench.servers.eim import DataOrder, DownloadOrder, Eim, Limits, OrderState, PackageOrder, Purpose
from esim_bench.servers.pki import create_pki

LIST = PackageOrder((ListProfileInfo(),))


def new_key(name="new key"):
    return generate(Curve.P256, SeededRandomness(name))


# --------------------------------------------------------------------------------------------------------- certificates


@pytest.mark.parametrize("version", list(Version))
def test_certificates_are_asked_for_before_the_first_package(bench_of, version):
    bench = bench_of(version=version)
    ipa = bench.ipa(bench.euicc(known=False))
    order = bench.eim.order(ipa.euicc.eid, LIST)
    assert ipa.poll() == ["ipaEuiccDataRequest", "euiccPackageRequest"]
    assert bench.eim.find_order(order.id).state is OrderState.DONE
    bench.eim.order(ipa.euicc.eid, LIST)
    assert ipa.poll() == ["euiccPackageRequest"]
    assert bench.eim.device(ipa.euicc.eid).euicc_certificate == ipa.euicc.certificates[0]


def test_certificates_come_before_a_download_too(bench):
    ipa = bench.ipa(bench.euicc(known=False))
    bench.eim.order(ipa.euicc.eid, DownloadOrder(default_smdp=True))
    assert list(ipa.get()) == ["ipaEuiccDataRequest"]


def test_no_package_goes_out_to_an_euicc_whose_certificates_do_not_verify(bench, caplog):
    ipa = bench.ipa(bench.euicc(known=False))
    order = bench.eim.order(ipa.euicc.eid, LIST)
    genuine = ipa.euicc.certificates
    ipa.euicc.certificates = bench.euicc(2).certificates
    with caplog.at_level(logging.WARNING, "esim_bench.servers.eim"):
        assert ipa.poll() == ["ipaEuiccDataRequest"]
    assert "the certificate of another eUICC" in caplog.text
    assert bench.eim.find_order(order.id).state is OrderState.QUEUED
    ipa.euicc.certificates = genuine
    assert ipa.poll() == []
    bench.wait(61)
    assert ipa.poll() == ["ipaEuiccDataRequest", "euiccPackageRequest"]


def test_an_ipa_that_refuses_certificates_is_not_asked_without_end(bench):
    ipa = bench.ipa(bench.euicc(known=False))
    bench.eim.order(ipa.euicc.eid, LIST)
    data = bench.eim.order(ipa.euicc.eid, DataOrder((0x81,)))
    ipa.get()
    transaction = bench.eim.orders(ipa.euicc.eid)[-1].transaction_id
    ipa.provide(ipa_data.IpaEuiccDataError(1, transaction).encode())
    assert ipa.poll() == ["ipaEuiccDataRequest"]
    assert bench.eim.find_order(data.id).state is OrderState.DONE


def test_an_ipa_that_does_not_know_all_tags_is_asked_for_certificates_alone(bench):
    ipa = bench.ipa(bench.euicc(known=False))
    bench.eim.order(ipa.euicc.eid, LIST)
    first = ipa_data.IpaEuiccDataRequest.parse(ipa.get()["ipaEuiccDataRequest"])
    assert first.tags == (0xA5, 0xA6, 0xBF20, 0xBF22, 0xA8, 0xA9)
    ipa.provide(ipa_data.IpaEuiccDataError(1, first.transaction_id).encode())
    bench.wait(61)
    second = ipa_data.IpaEuiccDataRequest.parse(ipa.get()["ipaEuiccDataRequest"])
    assert second.tags == (0xA5, 0xA6)


def test_a_relayed_download_is_prepared_by_one_question(bench):
    ipa = bench.ipa()
    bench.eim.order(ipa.euicc.eid, DownloadOrder(activation_code="1$dp.example.com$X", held=True))
    request = ipa.get()
    assert ipa.provide(ipa.answer(request)) == {}
    assert list(ipa.get()) == ["profileDownloadTriggerRequest"]


def test_certificates_of_a_foreign_ci_are_no_certificates(bench):
    foreign = create_pki(SeededRandomness("foreign"), now_ns=VIRTUAL_EPOCH_NS)
    euicc = bench.euicc(known=False)
    branch = foreign.issue_euicc(euicc.eid, SeededRandomness("euicc")).signing[0]
    with pytest.raises(CryptoError, match="of another CI"):
        bench.eim.add_device(euicc.eid, certificates=(branch.euicc_certificate, branch.eum_certificate))
    assert bench.eim.device(euicc.eid).euicc_certificate is None


def test_an_eim_that_trusts_nobody_is_refused(bench):
    with pytest.raises(ConfigError, match="trusts no CI"):
        Eim(bench.credentials, bench.store, SeededRandomness("x"), lambda: 0, trusted_cis=[])


def test_expired_certificates_are_refused_where_dates_count(bench_of):
    bench = bench_of(check_dates=True)
    euicc = bench.euicc(known=False)
    bench.now = 4_000_000_000 * 1_000_000_000
    with pytest.raises(CryptoError, match="expired"):
        bench.eim.add_device(euicc.eid, certificates=euicc.certificates)


# ---------------------------------------------------------------------------------------------------------- replayError


@pytest.mark.parametrize("version", list(Version))
def test_after_a_replay_error_the_stored_result_is_looked_for(bench_of, version):
    bench = bench_of(version=version)
    ipa = bench.ipa()
    order = bench.eim.order(ipa.euicc.eid, LIST)
    later = bench.eim.order(ipa.euicc.eid, LIST)
    ipa.answer(ipa.get())  # Executed; the result is lost on its way.
    bench.restart()
    assert ipa.poll() == ["euiccPackageRequest", "ipaEuiccDataRequest", "euiccPackageRequest"]
    assert [bench.eim.find_order(one.id).state for one in (order, later)] == [OrderState.DONE] * 2
    assert bench.eim.find_order(order.id).verified
    assert len(ipa.euicc.executed) == 2
    assert ipa.euicc.stored == {}


def test_a_result_that_is_not_stored_any_more_is_lost(bench):
    ipa = bench.ipa()
    order, later = bench.eim.order(ipa.euicc.eid, LIST), bench.eim.order(ipa.euicc.eid, LIST)
    result = ipa.answer(ipa.get())
    ipa.euicc.stored.clear()
    assert ipa.poll() == ["euiccPackageRequest", "ipaEuiccDataRequest", "euiccPackageRequest"]
    assert bench.eim.find_order(order.id).state is OrderState.LOST
    assert bench.eim.find_order(later.id).state is OrderState.DONE
    # Too late: results after it were accepted.
    assert ipa.provide(result) == {"provideEimPackageResultError": 127}


def test_a_lost_result_that_comes_all_the_same_is_taken(bench):
    ipa = bench.ipa()
    order = bench.eim.order(ipa.euicc.eid, LIST)
    result = ipa.answer(ipa.get())
    ipa.euicc.stored.clear()
    ipa.poll()
    assert bench.eim.find_order(order.id).state is OrderState.LOST
    ipa.provide(result)
    assert bench.eim.find_order(order.id).state is OrderState.DONE


def test_a_search_for_a_result_survives_a_crash_and_ends_when_it_is_refused(on_disk):
    bench, ipa = on_disk, on_disk.ipa()
    order = bench.eim.order(ipa.euicc.eid, LIST)
    ipa.answer(ipa.get())
    ipa.provide(ipa.answer(ipa.get()))
    bench.restart()
    request = ipa.get()
    assert list(request) == ["ipaEuiccDataRequest"]
    bench.restart()
    assert ipa.get() == request
    search = bench.eim.orders(ipa.euicc.eid)[-1]
    assert (search.purpose, search.parent) == (Purpose.RECOVER, order.id)
    ipa.provide(ipa_data.IpaEuiccDataError(104, search.transaction_id).encode())
    assert bench.eim.find_order(order.id).state is OrderState.LOST


def test_cancelling_a_replayed_order_ends_the_search_too(bench):
    ipa = bench.ipa()
    order = bench.eim.order(ipa.euicc.eid, LIST)
    ipa.answer(ipa.get())
    ipa.provide(ipa.answer(ipa.get()))
    ipa.get()
    bench.eim.cancel(order.id)
    assert ipa.get() == {"eimPackageError": 1}
    assert [one.state for one in bench.eim.orders()] == [OrderState.CANCELLED] * 2


@pytest.mark.parametrize("order", [DataOrder((0x81,)), DownloadOrder(activation_code="1$dp.example.com$X")])
def test_what_is_never_answered_fails_after_some_time(bench_of, order):
    bench = bench_of(limits=Limits(resends=3))
    ipa = bench.ipa()
    placed = bench.eim.order(ipa.euicc.eid, order)
    assert len({str(ipa.get()) for _ in range(3)}) == 1
    assert ipa.get() == {"eimPackageError": 1}
    closed = bench.eim.find_order(placed.id)
    assert (closed.state, closed.outcome) == (OrderState.FAILED, "not answered 3 times")


# --------------------------------------------------------------------------------------------------------- key rotation


def test_a_new_key_signs_from_its_acknowledged_result_on(on_disk):
    bench, ipa = on_disk, on_disk.ipa()
    key = new_key()
    order = bench.eim.rotate(ipa.euicc.eid, key)
    later = bench.eim.order(ipa.euicc.eid, LIST)
    result = ipa.answer(ipa.get())
    bench.restart()
    assert bench.eim.device(ipa.euicc.eid).key == ""
    ipa.provide(result)
    bench.restart()
    assert ipa.poll() == ["euiccPackageRequest"]
    assert [bench.eim.find_order(one.id).state for one in (order, later)] == [OrderState.DONE] * 2
    # And back to the key of the credentials.
    bench.eim.rotate(ipa.euicc.eid, bench.credentials.signing_key)
    bench.eim.order(ipa.euicc.eid, LIST)
    assert ipa.poll() == ["euiccPackageRequest"] * 2
    assert bench.eim.device(ipa.euicc.eid).key == ""


def test_a_refused_rotation_leaves_the_old_key(bench, monkeypatch):
    from esim_bench.codec.euicc_results import OperationResult

    ipa = bench.ipa()
    order = bench.eim.rotate(ipa.euicc.eid, new_key())
    monkeypatch.setattr(ipa.euicc, "execute", lambda operation: OperationResult("updateEim", 7))
    ipa.poll()
    monkeypatch.undo()
    assert bench.eim.find_order(order.id).outcome == "updateEim: commandError"
    bench.eim.order(ipa.euicc.eid, LIST)
    assert ipa.poll() == ["euiccPackageRequest"]


@pytest.mark.parametrize("executed", [True, False])
def test_after_a_lost_rotation_a_probe_finds_the_key(bench, executed):
    ipa = bench.ipa()
    eid = ipa.euicc.eid
    order = bench.eim.rotate(eid, new_key())
    package = ipa.get()
    if executed:
        ipa.answer(package)
        ipa.euicc.stored.clear()
        # The eUICC has the new key: the same bytes are not accepted again.
        ipa.provide(ipa.answer(ipa.get()))
    else:
        transaction = bench.eim.find_order(order.id).transaction_id
        ipa.provide(unsigned_error("testeim1", transaction, ipa.euicc.token))
    assert bench.eim.find_order(order.id).state is OrderState.FAILED
    assert bench.eim.device(eid).doubt is not None
    listed = bench.eim.order(eid, LIST)
    ipa.poll()
    assert bench.eim.find_order(listed.id).state is OrderState.DONE
    assert bench.eim.device(eid).doubt is None
    assert (bench.eim.device(eid).key == "") is not executed
    assert bench.eim.find_order(order.id).state is (OrderState.DONE if executed else OrderState.FAILED)
    probes = [one for one in bench.eim.orders(eid) if one.purpose is Purpose.PROBE]
    assert [one.operations for one in probes] == [(ListEim(),)] * (2 if executed else 1)


def test_probes_that_all_fail_are_repeated_after_a_while(bench):
    ipa = bench.ipa()
    eid = ipa.euicc.eid
    bench.eim.rotate(eid, new_key())
    own, ipa.euicc.eim_key = ipa.euicc.eim_key, new_key("unknown").public_key()
    listed = bench.eim.order(eid, LIST)
    assert len(ipa.poll()) == 3
    assert ipa.get() == {"eimPackageError": 1}
    bench.wait(61)
    ipa.euicc.eim_key = own
    ipa.poll()
    assert bench.eim.find_order(listed.id).state is OrderState.DONE


def test_a_key_and_the_certificate_of_another_do_not_go_together(bench):
    euicc = bench.euicc()
    with pytest.raises(ConfigError, match="of another key"):
        bench.eim.rotate(euicc.eid, new_key(), euicc.certificates[0])


def test_signed_packages_name_their_order(bench):
    ipa = bench.ipa()
    order = bench.eim.order(ipa.euicc.eid, LIST)
    request = EuiccPackageRequest.parse(ipa.get()["euiccPackageRequest"])
    sent = bench.eim.find_order(order.id)
    assert (request.counter, request.transaction_id) == (sent.counter, sent.transaction_id)
    assert len(request.transaction_id) == 16
