"""Notifications at the SM-DP+: verified, kept once, and the states that follow from them (SGP.22 3.5)."""

import base64

import pytest


def test_the_states_of_a_profile_follow_its_notifications(bench):
    euicc = bench.euicc()
    bench.download(euicc)
    bench.notify(euicc.result(seq=1))
    for seq, event, state in [(2, "enable", "Enabled"), (3, "disable", "Disabled"), (4, "delete", "Deleted")]:
        record = bench.notify(euicc.notification(event, seq))
        assert (record.verified, record.operation, record.seq, record.eid) == (True, event, seq, euicc.eid)
        assert bench.state() == state


def test_notifications_in_another_order_do_not_turn_the_state_back(bench):
    euicc = bench.euicc()
    bench.download(euicc)
    bench.notify(euicc.result(seq=1))
    bench.notify(euicc.notification("delete", 4))
    bench.notify(euicc.notification("enable", 2))
    assert bench.state() == "Deleted"


def test_the_same_notification_is_kept_once(bench):
    euicc = bench.euicc()
    bench.download(euicc)
    result = euicc.result()
    for _ in range(3):
        bench.notify(result)
    assert len(bench.store.notifications()) == 1


@pytest.mark.parametrize(
    ("error", "state"),
    [(10, "Downloaded"), (11, "Downloaded"), (8, "Error"), (9, "Error"), (12, "Error"), (127, "Error")],
)
def test_a_failed_installation(bench, error, state):
    euicc = bench.euicc()
    bench.download(euicc)
    record = bench.notify(euicc.result(error=error))
    assert record.verified
    assert "in command 5" in record.detail
    assert bench.state() == state
    again = bench.authenticate(euicc)
    assert again.code == (None if state == "Downloaded" else "8.2.6/3.8")
    if state == "Downloaded":
        # The key of the binding that failed is spent.
        assert b"\x5f\x49" not in again["smdpSigned2"]


def test_a_late_failure_says_nothing_of_a_newer_binding(bench):
    euicc = bench.euicc()
    bench.download(euicc)
    late = euicc.result(seq=1, error=12)
    bench.download(euicc)
    assert bench.notify(late).verified
    assert bench.state() == "Downloaded"
    bench.notify(euicc.result(seq=2))
    assert bench.state() == "Installed"


def test_a_result_that_comes_after_the_session_is_still_verified(bench):
    euicc = bench.euicc()
    bench.download(euicc)
    bench.now_ns += 30 * 24 * 3600 * 1_000_000_000
    assert bench.notify(euicc.result()).verified
    assert bench.state() == "Installed"


def test_a_result_ends_the_session(bench):
    euicc = bench.euicc()
    offered = bench.authenticate(euicc)
    bench.bind(euicc, offered)
    bench.notify(euicc.result())
    assert bench.bind(euicc, offered).code == "8.10.1/3.9"


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        ({"transaction_id": bytes(16)}, "8.10.1/3.9"),
        ({"oid": bytes.fromhex("88370C")}, "8.8/3.10"),
        ({"key": None}, "8.1/6.1"),
        ({"iccid": bytes(10)}, "8.1/6.1"),
    ],
)
def test_a_result_that_does_not_verify_is_kept_and_changes_nothing(bench, tools, spoilt, why):
    euicc = bench.euicc()
    bench.download(euicc)
    spoilt = {name: value if name != "key" else tools.other_key for name, value in spoilt.items()}
    record = bench.notify(euicc.result(**spoilt))
    assert not record.verified
    assert record.detail.startswith(why)
    assert bench.state() == "Downloaded"


def test_another_notification_is_verified_by_its_own_chain(bench, pkis, tools):
    euicc = bench.euicc()
    bench.download(euicc)
    bench.notify(euicc.result(seq=1))
    assert bench.notify(euicc.notification("enable", 2, key=tools.other_key)).detail.startswith("8.1/6.1")
    stranger = bench.euicc(pki=pkis["foreign"])
    assert bench.notify(stranger.notification("enable", 3)).detail.startswith("8.11.1/3.9")
    euicc.certificates[0] = euicc.certificates[0][:-1] + bytes((euicc.certificates[0][-1] ^ 1,))
    assert bench.notify(euicc.notification("enable", 4)).detail.startswith("8.1.3/6.1")
    assert bench.state() == "Installed"


def test_a_notification_of_another_profile_or_euicc_moves_nothing(bench):
    euicc = bench.euicc()
    bench.download(euicc)
    bench.notify(euicc.result(seq=1))
    assert bench.notify(euicc.notification("enable", 2, iccid=bytes(10))).verified
    assert bench.notify(bench.euicc(2).notification("enable", 2)).verified
    assert bench.state() == "Installed"


MALFORMED = {
    "nothing": b"",
    "another tag": b"\xbf\x38\x00",
    "empty result": b"\xbf\x37\x00",
    "empty other": b"\x30\x00",
    "cut": b"\xbf\x37\x05\x00",
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_bytes_that_are_no_notification(bench, raw):
    body = {"pendingNotification": base64.b64encode(raw).decode()}
    assert bench.post("handleNotification", body).status == 400
    assert bench.store.notifications() == []


def test_members_that_make_no_sense_are_malformed(bench, tools):
    euicc = bench.euicc()
    bench.download(euicc)
    two_events = euicc.notification("both", 2)
    t = tools.t
    long_seq = t(0x30, t(0xBF2F, t(0x80, b"\x7f" * 9), t(0x81, b"\x06\x40")), t(0x5F37, bytes(64)), t(0x30), t(0x30))
    negative = t(0x30, t(0xBF2F, t(0x80, b"\xff"), t(0x81, b"\x06\x40")), t(0x5F37, bytes(64)), t(0x30), t(0x30))
    for raw in (two_events, long_seq, negative):
        body = {"pendingNotification": base64.b64encode(raw).decode()}
        assert bench.post("handleNotification", body).status == 400


@pytest.mark.parametrize("error", [9, 10, 11, 12])
def test_a_second_download_that_fails_takes_nothing_from_the_installed_one(bench, error):
    euicc = bench.euicc()
    bench.download(euicc)
    first = euicc.transaction_id
    bench.download(euicc)
    second = euicc.transaction_id
    bench.notify(euicc.result(seq=1, transaction_id=first))
    assert bench.notify(euicc.result(seq=2, transaction_id=second, error=error)).verified
    assert bench.state() == "Installed"
    bench.notify(euicc.notification("enable", 3))
    assert bench.state() == "Enabled"
