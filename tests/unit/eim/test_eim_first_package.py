"""A package from the order to its acknowledged result, in both bindings and all versions."""

import pytest

from esim_bench.codec.euicc_operations import Delete, Disable, Enable, ListProfileInfo
from esim_bench.codec.sgp32 import Version
from esim_bench.servers.eim import OrderState, PackageOrder


@pytest.mark.parametrize("binding", ["asn1", "json"])
@pytest.mark.parametrize("version", list(Version))
def test_an_enable_goes_out_is_executed_and_its_result_is_acknowledged(bench_of, shapes, binding, version):
    bench = bench_of(version=version)
    ipa = bench.ipa(binding=binding)
    eid = ipa.euicc.eid
    order = bench.eim.order(eid, PackageOrder((Enable(shapes.SECOND),)))
    assert order.state is OrderState.QUEUED

    assert ipa.poll() == ["euiccPackageRequest"]

    done = bench.eim.find_order(order.id)
    assert (done.state, done.outcome, done.verified, done.counter) == (OrderState.DONE, "ok", True, 2)
    assert [(result.function, result.code) for result in done.results] == [("enable", 0)]
    assert ipa.euicc.profiles[shapes.SECOND] == 1
    assert ipa.euicc.stored == {}
    assert bench.eim.view(eid).enabled_iccid == shapes.SECOND


def test_a_failing_operation_fails_the_order_and_what_was_done_before_counts(bench, shapes):
    ipa = bench.ipa()
    operations = (Disable(shapes.FIRST), Delete(b"\x98" * 10), Enable(shapes.SECOND))
    order = bench.eim.order(ipa.euicc.eid, PackageOrder(operations))
    ipa.poll()
    closed = bench.eim.find_order(order.id)
    assert (closed.state, closed.outcome) == (OrderState.FAILED, "delete: iccidOrAidNotFound")
    assert len(closed.results) == 2
    view = bench.eim.view(ipa.euicc.eid)
    assert view.enabled_iccid is None
    assert view.profile(shapes.FIRST).state == "disabled"


def test_orders_go_out_one_by_one_in_their_order(bench, shapes):
    ipa = bench.ipa()
    eid = ipa.euicc.eid
    bench.eim.order(eid, PackageOrder((Enable(shapes.SECOND),)))
    bench.eim.order(eid, PackageOrder((Delete(shapes.FIRST),)))
    bench.eim.order(eid, PackageOrder((ListProfileInfo(),)))
    assert ipa.poll() == ["euiccPackageRequest"] * 3
    assert [order.state for order in bench.eim.orders(eid)] == [OrderState.DONE] * 3
    assert [order.counter for order in bench.eim.orders(eid)] == [2, 3, 4]
    view = bench.eim.view(eid)
    assert [(profile.iccid, profile.state) for profile in view.profiles] == [(shapes.SECOND, "enabled")]
    assert view.complete


def test_nothing_to_do_is_said_in_known_bytes(bench, shapes):
    euicc = bench.euicc()
    answer = bench.post("/gsma/rsp2/asn1", shapes.ASN1, bytes.fromhex("BF4F125A10") + euicc.eid)
    assert (answer.status, answer.body.hex().upper()) == (200, "BF4F03020101")


def test_a_package_is_made_of_known_bytes(bench, shapes):
    euicc = bench.euicc(associated=False)
    bench.eim.configuration(euicc.eid, counter=0)
    device = bench.eim.associated(euicc.eid, None)
    assert device.counter == 1
    order = PackageOrder((Enable(shapes.SECOND),))
    request = bench.eim._functions._packages.signed(device, order, 1, None)
    known = "302F80087465737465696D315A10" + euicc.eid.hex() + "810101A00EA30C5A0A" + shapes.SECOND.hex()
    assert known.upper() in request.hex().upper()
    assert request[:2] == b"\xbf\x51"
    assert request[-67:-64] == b"\x5f\x37\x40"
    # The eUICC without a token verifies it with 84 01 00 at its end.
    euicc.token, euicc.counter = None, 0
    assert euicc.load(request)[3] == 0xA0
