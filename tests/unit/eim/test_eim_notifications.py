"""Notifications: verified, kept until their server has them, and taken there unchanged."""

import asyncio
import logging

import pytest

from esim_bench.codec import compact, tlv
from esim_bench.codec.esipa_objects import acknowledged
from esim_bench.codec.euicc_operations import ListProfileInfo
from esim_bench.codec.sgp32 import Version
from esim_bench.crypto.keys import Curve, generate
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.servers.eim import Limits, PackageOrder

LIST = PackageOrder((ListProfileInfo(),))
ENABLED, DELETED = 0x40, 0x10
URL = "https://testsmdpplus1.example.com/gsma/rsp2/es9plus/handleNotification"


@pytest.mark.parametrize("binding", ["asn1", "json"])
@pytest.mark.parametrize("version", list(Version))
def test_a_notification_goes_to_its_address_unchanged(bench_of, shapes, binding, version):
    bench = bench_of(version=version)
    ipa = bench.ipa(binding=binding)
    notification = ipa.euicc.notification(ENABLED, shapes.SECOND)
    ipa.call("handleNotification", pendingNotification=notification)
    assert bench.servers.arrived == [(URL, notification)]
    assert bench.eim.view(ipa.euicc.eid).enabled_iccid == shapes.SECOND
    # Again: it is known, and was delivered.
    ipa.call("handleNotification", pendingNotification=notification)
    assert len(bench.servers.arrived) == 1


def test_notifications_with_a_result_are_acknowledged_with_it(bench, shapes):
    ipa = bench.ipa()
    bench.eim.order(ipa.euicc.eid, LIST)
    notifications = tuple(ipa.euicc.notification(bit, shapes.FIRST) for bit in (ENABLED, DELETED))
    result = shapes.PackageResult(ipa.answer(ipa.get()), notifications).encode()
    assert acknowledged(ipa.provide(result)["eimAcknowledgements"]) == (3, 1, 2)
    assert acknowledged(ipa.provide(result)["eimAcknowledgements"]) == (3, 1, 2)
    assert [raw for _, raw in bench.servers.arrived] == list(notifications)


def test_a_server_that_is_away_gets_it_later_also_after_a_crash(on_disk, shapes):
    bench, ipa = on_disk, on_disk.ipa()
    bench.servers.down = True
    notification = ipa.euicc.notification(ENABLED, shapes.SECOND)
    ipa.call("handleNotification", pendingNotification=notification)
    assert bench.servers.arrived == []
    bench.servers.down = False
    bench.restart()
    # Not before its time, which grows from attempt to attempt.
    assert asyncio.run(bench.eim.deliver()) == 0
    bench.wait(60)
    assert asyncio.run(bench.eim.deliver()) == 1
    assert bench.servers.arrived == [(URL, notification)]
    assert asyncio.run(bench.eim.deliver()) == 0
    kept = bench.store.notifications(ipa.euicc.eid)[0]
    assert (kept.delivered, kept.attempts, kept.address) == (True, 2, shapes.ADDRESS)


def test_a_server_that_stays_away_is_asked_less_and_less(bench, shapes):
    ipa = bench.ipa()
    bench.servers.down = True
    ipa.call("handleNotification", pendingNotification=ipa.euicc.notification(ENABLED, shapes.SECOND))
    waits = []
    for _ in range(9):
        before = bench.now
        bench.now = bench.store.notifications()[0].next_ns
        waits.append((bench.now - before) // 60_000_000_000)
        asyncio.run(bench.eim.deliver())
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_notification_that_does_not_verify_goes_nowhere(bench, shapes, caplog):
    ipa = bench.ipa()
    genuine = ipa.euicc.key
    ipa.euicc.key = generate(Curve.P256, SeededRandomness("thief"))
    with caplog.at_level(logging.WARNING, "esim_bench.servers.eim"):
        ipa.call("handleNotification", pendingNotification=ipa.euicc.notification(ENABLED, shapes.SECOND))
    assert "the signature does not hold" in caplog.text
    forged = ipa.euicc.notification(ENABLED, shapes.SECOND)
    ipa.euicc.key = genuine
    bench.eim.order(ipa.euicc.eid, LIST)
    result = shapes.PackageResult(ipa.answer(ipa.get()), (forged,)).encode()
    assert acknowledged(ipa.provide(result)["eimAcknowledgements"]) == (3,)
    assert bench.servers.arrived == []
    assert bench.store.notifications() == []


def test_a_notification_of_an_unknown_euicc_goes_nowhere(bench, shapes):
    from esim_bench.servers.pki import make_eid

    ipa = bench.ipa()
    ipa.euicc.identity = bench.pki.issue_euicc(make_eid(9), SeededRandomness("euicc"))
    ipa.euicc.key = ipa.euicc.identity.signing[0].private_key
    branch = ipa.euicc.identity.signing[0]
    ipa.euicc.certificates = (branch.euicc_certificate, branch.eum_certificate)
    ipa.call("handleNotification", pendingNotification=ipa.euicc.notification(ENABLED, shapes.SECOND))
    assert bench.store.notifications() == []


def test_an_address_that_is_none_is_not_posted_to(bench, shapes):
    ipa = bench.ipa()
    notification = ipa.euicc.notification(ENABLED, shapes.SECOND, address="evil.example.com/path?x")
    ipa.call("handleNotification", pendingNotification=notification)
    assert bench.servers.arrived == []
    assert "SM-DP+ address" in bench.store.notifications()[0].error


def test_certificates_are_learnt_from_a_notification(bench, shapes):
    ipa = bench.ipa(bench.euicc(known=False))
    ipa.call("handleNotification", pendingNotification=ipa.euicc.notification(ENABLED, shapes.SECOND))
    bench.eim.order(ipa.euicc.eid, LIST)
    assert ipa.poll() == ["euiccPackageRequest"]


def test_a_compact_notification_becomes_what_the_euicc_signed(bench, shapes):
    ipa = bench.ipa()
    full = ipa.euicc.notification(ENABLED, shapes.SECOND)
    metadata, signature = tlv.parse(full).children()[:2]
    short = compact.OtherNotification(signature.value, metadata.raw, ipa.euicc.eid).encode()
    ipa.call("handleNotification", pendingNotification=short)
    assert bench.servers.arrived == [(URL, full)]


def test_without_a_way_to_servers_nothing_is_acknowledged(bench_of, shapes):
    bench = bench_of(bearer=None)
    ipa = bench.ipa()
    bench.eim.order(ipa.euicc.eid, LIST)
    notification = ipa.euicc.notification(ENABLED, shapes.SECOND)
    result = shapes.PackageResult(ipa.answer(ipa.get()), (notification,)).encode()
    assert acknowledged(ipa.provide(result)["eimAcknowledgements"]) == (2,)
    assert asyncio.run(bench.eim.deliver()) == 0


def test_there_is_an_end_to_waiting_notifications(bench_of, shapes):
    bench = bench_of(limits=Limits(notifications=2))
    bench.servers.down = True
    ipa = bench.ipa()
    statuses = []
    for _ in range(4):
        body = shapes.t(0xBF3D, shapes.t(0xA0, ipa.euicc.notification(ENABLED, shapes.SECOND)))
        statuses.append(bench.post("/gsma/rsp2/asn1", shapes.ASN1, body).status)
    assert statuses == [204, 204, 503, 503]
    assert len(bench.store.notifications()) == 2


def test_older_notifications_do_not_change_the_view(bench, shapes):
    ipa = bench.ipa()
    enabled = ipa.euicc.notification(ENABLED, shapes.SECOND)
    deleted = ipa.euicc.notification(DELETED, shapes.SECOND)
    for raw in (deleted, enabled):
        ipa.call("handleNotification", pendingNotification=raw)
    assert bench.eim.view(ipa.euicc.eid).profiles == ()
    assert len(bench.servers.arrived) == 2
