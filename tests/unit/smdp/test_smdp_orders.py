"""What becomes of orders: protection, eligibility, retries, cancelling (SGP.22 2.5.3, 3.1.3, 3.1.6, 5.6)."""

import pytest

from esim_bench.errors import ConfigError

EXECUTED = "Executed-Success"
REASONS = {
    0: "endUserRejection",
    1: "postponed",
    2: "timeout",
    3: "pprNotAllowed",
    4: "metadataMismatch",
    5: "loadBppExecutionError",
    127: "undefinedReason",
}
KEEPING = (1, 2)


# ---------------------------------------------------------------------------------------------------------- protection


def elements(bench, euicc, matching_id):
    opened = euicc.unbind(bench.download(euicc, matching_id)["boundProfilePackage"])
    return opened, b"".join(segment.raw for segment in opened.areas[0xA3])


def test_random_keys_protect_a_package_once_for_all(make_bench, tools, tmp_path):
    seen = []
    for start in range(2):
        bench = make_bench(path=tmp_path / "smdp.sqlite", seed=f"start {start}")
        bench.release("PPK", random_keys=True, test_order=True)
        for number in (1, 2):
            opened, segments = elements(bench, bench.euicc(number), "PPK")
            assert opened.upp == tools.package()
            seen.append((opened.keys, segments, b"".join(item.raw for item in opened.areas[0xA1])))
        bench.store.close()
    assert len({(keys, segments) for keys, segments, _ in seen}) == 1
    # What is bound to the eUICC is new each time.
    assert len({metadata for _, _, metadata in seen}) == 4


def test_session_keys_protect_a_package_for_one_download(make_bench, tools):
    bench = make_bench(random_keys=True)
    bench.release("SESSION", random_keys=False, test_order=True)
    found = [elements(bench, bench.euicc(number), "SESSION") for number in (1, 2, 1)]
    assert len({segments for _, segments in found}) == 3
    assert all(opened.keys == b"" and opened.upp == tools.package() for opened, _ in found)


def test_each_package_has_random_keys_of_its_own(make_bench, tools):
    bench = make_bench(random_keys=True)
    bench.release("ONE", tools.package(100))
    bench.release("TWO", tools.package(101))
    one, _ = elements(bench, bench.euicc(1), "ONE")
    two, _ = elements(bench, bench.euicc(1), "TWO")
    assert one.keys != two.keys
    assert two.upp == tools.package(101)


@pytest.mark.parametrize("random_keys", [False, True])
def test_a_retry_with_the_stored_one_time_key(bench, tools, random_keys):
    bench.release("RETRY", random_keys=random_keys, rebinding=False)
    euicc = bench.euicc()
    elements(bench, euicc, "RETRY")
    key = euicc.otpk()
    opened, _ = elements(bench, euicc, "RETRY")
    assert euicc.otpk() == key
    assert opened.upp == tools.package()
    bench.notify(euicc.result())
    assert bench.store.downloads(eid=euicc.eid)[0].euicc_otpk is None


# ----------------------------------------------------------------------------------------------------------- cancelling


@pytest.mark.parametrize("binding", ["json", "asn1"])
@pytest.mark.parametrize("bound", [False, True])
@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_of_cancel_session(make_bench, binding, bound, reason):
    bench = make_bench(binding=binding)
    bench.release()
    euicc = bench.euicc()
    offered = bench.authenticate(euicc)
    if bound:
        assert bench.bind(euicc, offered).status == EXECUTED
    assert bench.cancel(euicc, offered["transactionId"], reason=reason).status == EXECUTED
    kept = "Downloaded" if bound else "Released"
    assert bench.state() == (kept if reason in KEEPING else "Error")
    again = bench.authenticate(euicc)
    assert (again.status == EXECUTED) == (reason in KEEPING)
    if bound and reason in KEEPING:
        key = euicc.otpk()
        assert bench.bind(euicc, again).status == EXECUTED
        assert euicc.otpk() == key


@pytest.mark.parametrize("reason", REASONS)
def test_a_test_order_outlives_every_reason(bench, reason):
    bench.release("MANY", test_order=True)
    euicc = bench.euicc()
    bench.cancel(euicc, bench.authenticate(euicc, "MANY")["transactionId"], reason=reason)
    (download,) = bench.store.downloads(eid=euicc.eid)
    assert download.state.value == ("Released" if reason in KEEPING else "Error")
    assert bench.download(euicc, "MANY").status == EXECUTED


def test_an_order_that_was_taken_is_not_cancelled_by_another_session(bench):
    first, second = bench.euicc(1), bench.euicc(2)
    opened = bench.authenticate(second)["transactionId"]
    bench.download(first)
    assert bench.cancel(second, opened, reason=0).status == EXECUTED
    assert bench.state() == "Downloaded"


def test_who_gave_an_order_may_cancel_it(bench):
    euicc = bench.euicc()
    offered = bench.authenticate(euicc)
    bench.smdp.cancel_order("TEST")
    assert bench.state() == "Unavailable"
    assert bench.bind(euicc, offered).code == "8.2.6/3.8"
    assert bench.authenticate(euicc).code == "8.2.6/3.8"
    with pytest.raises(ConfigError):
        bench.smdp.cancel_order("NOBODY")


def test_an_installed_profile_is_past_cancelling(bench):
    euicc = bench.euicc()
    bench.download(euicc)
    bench.notify(euicc.result())
    with pytest.raises(ConfigError, match="Installed"):
        bench.smdp.cancel_order("TEST")


# ---------------------------------------------------------------------------------------------------------- eligibility


@pytest.mark.parametrize(
    ("templates", "capabilities", "missing"),
    [
        ([(4,), (5, 2)], b"\x40", None),
        ([(4, 2)], b"\x20", "template 4.2"),
        ([(1,), (3,), (8,)], b"\x40", "template 8"),
        ([(10,), (13, 3)], b"\x20", "template 10, template 13.3"),
    ],
)
def test_the_templates_of_a_profile(bench, tools, templates, capabilities, missing):
    bench.release("FILES", tools.package(services=(), templates=templates))
    answer = bench.authenticate(bench.euicc(capabilities=capabilities), "FILES")
    assert answer.code == (missing and "8.2.5/4.3")
    assert missing is None or missing in answer.text


def test_the_form_of_the_device_info(bench, tools):
    t = tools.t
    tac, releases = t(0x80, bytes(4)), t(0xA1, t(0x80, b"\x05\x00\x00"))
    wrong = {
        "without tac": t(0xA1, releases),
        "without deviceCapabilities": t(0xA1, tac),
        "4 bytes expected in 80": t(0xA1, t(0x80, bytes(3)), releases),
        "8 bytes expected in 82": t(0xA1, tac, releases, t(0x82, bytes(7))),
        "3 bytes expected in 85": t(0xA1, tac, t(0xA1, t(0x85, b"\x05\x00"))),
        "deviceInfo without": b"",
    }
    for text, device in wrong.items():
        answer = bench.authenticate(bench.euicc(), device=device)
        assert answer.code == "8.2.5/4.3"
        assert text in answer.text
    good = t(0xA1, tac, t(0xA1, t(0x85, b"\x0f\x00\x00"), t(0x8D, b"\x01"), t(0xAE)), t(0x82, bytes(8)), t(0x9F20, b""))
    assert bench.authenticate(bench.euicc(), device=good).status == EXECUTED


@pytest.mark.parametrize(
    ("events", "states"),
    [
        (["enable", "disable", "delete"], ["Enabled", "Disabled", "Deleted"]),
        (["delete"], ["Deleted"]),
    ],
)
@pytest.mark.parametrize("binding", ["json", "asn1"])
def test_every_event_is_verified_kept_and_followed(make_bench, events, states, binding):
    bench = make_bench(binding=binding)
    bench.release()
    euicc = bench.euicc()
    bench.download(euicc)
    bench.notify(euicc.result(seq=1))
    for number, (event, state) in enumerate(zip(events, states, strict=True)):
        record = bench.notify(euicc.notification(event, number + 2))
        assert (record.verified, record.operation, record.eid) == (True, event, euicc.eid)
        assert bench.state() == state
    assert len(bench.store.notifications(euicc.eid)) == 1 + len(events)


def test_a_store_of_the_former_version_is_brought_up_to_date(make_bench, tmp_path):
    path = tmp_path / "smdp.sqlite"
    bench = make_bench(path=path)
    bench.release("OLD")
    for statement in (
        "ALTER TABLE orders DROP COLUMN random_keys",
        "DROP TABLE protected",
        "DROP TABLE challenges",
        "PRAGMA user_version = 1",
    ):
        bench.store._db.execute(statement)
    bench.store.close()
    again = make_bench(path=path, random_keys=True)
    assert again.store.find_order("OLD").random_keys is False
    assert again.download(again.euicc(), "OLD").status == EXECUTED
