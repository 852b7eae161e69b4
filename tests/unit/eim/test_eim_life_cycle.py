"""Orders across crashes, lost answers, repetitions and cancellations: an eUICC executes each package at most once."""

import sqlite3

import pytest

from esim_bench.codec.euicc_operations import AddEim, DeleteEim, Enable, ListEim, ListProfileInfo, UpdateEim
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import BenchError, CodecError, ConfigError
from esim_bench.servers.eim import DataOrder, Limits, OrderState, PackageOrder, SqliteEimStore

LIST = PackageOrder((ListProfileInfo(),))


def test_the_same_bytes_go_out_until_there_is_a_result_also_after_a_crash(on_disk):
    bench, ipa = on_disk, on_disk.ipa()
    order = bench.eim.order(ipa.euicc.eid, LIST)
    first = ipa.get()
    assert bench.eim.find_order(order.id).state is OrderState.SENT
    assert ipa.get() == first
    bench.restart()
    assert ipa.get() == first
    assert bench.eim.find_order(order.id).sends == 3


def test_a_crash_at_each_step_loses_nothing_and_repeats_nothing(on_disk, shapes):
    bench, ipa = on_disk, on_disk.ipa()
    eid = ipa.euicc.eid
    order = bench.eim.order(eid, PackageOrder((Enable(shapes.SECOND),)))
    bench.restart()
    package = ipa.get()
    bench.restart()
    result = ipa.answer(package)
    bench.restart()
    acknowledged = ipa.provide(result)
    bench.restart()
    assert bench.eim.find_order(order.id).state is OrderState.DONE
    # The acknowledgement was lost: the IPA provides the result again.
    assert ipa.provide(result) == acknowledged
    assert bench.eim.find_order(order.id).closed_ns == bench.now
    assert ipa.get() == {"eimPackageError": 1}
    assert len(ipa.euicc.executed) == 1
    assert len(bench.store.results(eid)) == 1


@pytest.mark.parametrize(("name", "number"), [("put_order", 1), ("put_device", 2)])
def test_what_fails_in_the_store_leaves_no_trace_and_no_bytes(bench, shapes, monkeypatch, name, number):
    ipa = bench.ipa()
    order = bench.eim.order(ipa.euicc.eid, LIST)
    calls = {"n": 0}
    original = getattr(bench.store, name)

    def broken(value):
        original(value)
        calls["n"] += 1
        if calls["n"] == number:
            raise sqlite3.OperationalError("disk full")

    monkeypatch.setattr(bench.store, name, broken)
    request = bytes.fromhex("BF4F125A10") + ipa.euicc.eid
    answer = bench.post("/gsma/rsp2/asn1", shapes.ASN1, request)
    assert (answer.status, answer.body) == (500, b"internal error\n")
    monkeypatch.undo()
    assert bench.eim.find_order(order.id) == order
    assert bench.eim.device(ipa.euicc.eid).counter == 2
    assert ipa.poll() == ["euiccPackageRequest"]


def test_a_result_that_cannot_be_stored_is_not_acknowledged(bench, shapes, monkeypatch):
    ipa = bench.ipa()
    order = bench.eim.order(ipa.euicc.eid, LIST)
    result = ipa.answer(ipa.get())

    def broken(value):
        raise sqlite3.OperationalError("disk full")

    monkeypatch.setattr(bench.store, "put_order", broken)
    with pytest.raises(AssertionError, match="internal error"):
        ipa.provide(result)
    monkeypatch.undo()
    assert bench.store.results(ipa.euicc.eid) == []
    assert ipa.provide(result)
    assert bench.eim.find_order(order.id).state is OrderState.DONE


def test_orders_of_one_euicc_are_nothing_to_another(bench):
    one, other = bench.ipa(bench.euicc(1)), bench.ipa(bench.euicc(2))
    bench.eim.order(one.euicc.eid, LIST)
    assert other.get() == {"eimPackageError": 1}
    assert "euiccPackageRequest" in one.get()


def test_packages_wait_for_the_association_and_data_requests_do_not(bench):
    ipa = bench.ipa(bench.euicc(associated=False))
    eid = ipa.euicc.eid
    package = bench.eim.order(eid, LIST)
    bench.eim.order(eid, DataOrder((0x81,)))
    assert ipa.poll() == ["ipaEuiccDataRequest"]
    assert bench.eim.view(eid).default_smdp_address == "dp.example.com"
    assert bench.eim.find_order(package.id).state is OrderState.QUEUED
    bench.eim.associated(eid, ipa.euicc.token, counter=1)
    assert ipa.poll() == ["euiccPackageRequest"]


def test_a_queued_order_is_cancelled_and_a_sent_one_may_still_be_executed(bench):
    ipa = bench.ipa()
    eid = ipa.euicc.eid
    queued, sent = bench.eim.order(eid, LIST), bench.eim.order(eid, LIST)
    assert bench.eim.cancel(queued.id).state is OrderState.CANCELLED
    package = ipa.get()
    assert "may be executed" in bench.eim.cancel(sent.id).outcome
    assert ipa.get() == {"eimPackageError": 1}
    ipa.provide(ipa.answer(package))
    assert bench.eim.find_order(sent.id).state is OrderState.DONE
    with pytest.raises(ConfigError, match="closed"):
        bench.eim.cancel(sent.id)


def test_a_new_association_with_another_token_loses_what_was_out(bench):
    ipa = bench.ipa()
    eid = ipa.euicc.eid
    order, next_order = bench.eim.order(eid, LIST), bench.eim.order(eid, LIST)
    ipa.get()
    bench.eim.associated(eid, ipa.euicc.token)
    assert bench.eim.find_order(order.id).state is OrderState.SENT
    ipa.euicc.token = 300
    bench.eim.associated(eid, 300)
    assert bench.eim.find_order(order.id).state is OrderState.LOST
    assert ipa.poll() == ["euiccPackageRequest"]
    assert bench.eim.find_order(next_order.id).state is OrderState.DONE


def test_the_configuration_tells_the_eim_and_its_counter(bench):
    euicc = bench.euicc(associated=False)
    data = bench.eim.configuration(euicc.eid)
    assert (data.eim_id, data.fqdn, data.counter, data.association_token) == (
        "testeim1",
        "testeim1.example.com",
        1,
        -1,
    )
    assert data.public_key == bench.credentials.public_key_data()
    assert bench.eim.configuration(euicc.eid, generate_token=False).association_token is None
    bench.eim.configuration(euicc.eid, counter=500)
    assert bench.eim.associated(euicc.eid, 7).counter == 501


def test_deleting_this_eim_itself_ends_the_association(bench):
    ipa = bench.ipa()
    eid = ipa.euicc.eid
    bench.eim.order(eid, PackageOrder((DeleteEim("testeim1"),)))
    ipa.poll()
    assert not bench.eim.device(eid).associated


def test_the_token_of_an_added_eim_is_kept(bench, monkeypatch):
    ipa = bench.ipa()
    eid = ipa.euicc.eid
    added = bench.eim.configuration(eid)
    order = bench.eim.order(eid, PackageOrder((AddEim(added),)))
    from esim_bench.codec.euicc_results import OperationResult

    monkeypatch.setattr(ipa.euicc, "execute", lambda operation: OperationResult("addEim", association_token=77))
    ipa.poll()
    assert bench.eim.find_order(order.id).results[0].association_token == 77
    assert [(eim.eim_id, eim.token) for eim in bench.eim.view(eid).eims] == [("testeim1", 77)]


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (PackageOrder(()), "one or more PSMOs"),
        (PackageOrder((ListProfileInfo(), ListEim())), "one or more PSMOs"),
        (DataOrder((0x5A,)), "tag list"),
        (DataOrder(()), "tag list"),
    ],
)
def test_what_cannot_be_asked_is_refused_when_it_is_ordered(bench, order, message):
    with pytest.raises(ConfigError, match=message):
        bench.eim.order(bench.euicc().eid, order)


def test_what_a_version_does_not_have_is_refused_when_it_is_ordered(bench_of, shapes):
    from esim_bench.codec.euicc_operations import SetFallbackAttribute

    bench = bench_of(version=Version.V1_0_1)
    with pytest.raises(ConfigError, match=r"v1\.1 or later"):
        bench.eim.order(bench.euicc().eid, PackageOrder((SetFallbackAttribute(shapes.FIRST),)))


def test_there_is_an_end_to_queues_and_packages(bench_of, shapes):
    bench = bench_of(limits=Limits(queue=2, package_bytes=300))
    eid = bench.euicc().eid
    with pytest.raises(CodecError, match="too long"):
        bench.eim.order(eid, PackageOrder((Enable(shapes.FIRST),) * 20))
    bench.eim.order(eid, LIST)
    bench.eim.order(eid, LIST)
    with pytest.raises(ConfigError, match="too many orders"):
        bench.eim.order(eid, LIST)


def test_unknown_things_are_named(bench):
    with pytest.raises(ConfigError, match="not known"):
        bench.eim.order(b"\x89" * 16, LIST)
    with pytest.raises(ConfigError, match="no order 5"):
        bench.eim.find_order(5)
    with pytest.raises(ConfigError, match="not an EID"):
        bench.eim.add_device(b"\xaa" * 16)
    eid = bench.euicc().eid
    own_key = PackageOrder((UpdateEim(bench.eim.configuration(eid)),))
    with pytest.raises(ConfigError, match="rotation"):
        bench.eim.order(eid, own_key)


def test_adding_a_known_euicc_changes_what_is_given(bench):
    euicc = bench.euicc()
    device = bench.eim.add_device(euicc.eid, label="meter 7", indirect=True)
    assert (device.label, device.indirect, device.associated) == ("meter 7", True, True)
    assert bench.eim.add_device(euicc.eid) == device
    assert bench.eim.devices() == (device,)
    assert bench.eim.configuration(euicc.eid).indirect_download


def test_foreign_files_are_no_store(tmp_path):
    path = tmp_path / "other.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE things (id INTEGER)")
    db.close()
    with pytest.raises(ConfigError, match="another program's file"):
        SqliteEimStore(path)
    (tmp_path / "text").write_text("no database at all, but long enough to look at " * 20)
    with pytest.raises(BenchError, match="not an eIM's store"):
        SqliteEimStore(tmp_path / "text")
    SqliteEimStore(tmp_path / "mine.db").close()
    db = sqlite3.connect(tmp_path / "mine.db")
    assert (db.execute("PRAGMA user_version").fetchone(), db.execute("PRAGMA journal_mode").fetchone()) == (
        (1,),
        ("wal",),
    )
    db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(ConfigError, match="expected version 1, found 9"):
        SqliteEimStore(tmp_path / "mine.db")
    assert (tmp_path / "mine.db").stat().st_mode & 0o077 == 0
