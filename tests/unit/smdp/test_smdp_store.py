"""The SM-DP+'s store, and the release of orders."""

import sqlite3

import pytest

from esim_bench.errors import BenchError, CodecError, ConfigError, RigError
from esim_bench.servers.smdp import OrderState, SqliteStore
from esim_bench.servers.smdp.store import Download, NotificationRecord, Order, StoredPackage, Transaction

PACKAGE = StoredPackage("d" * 64, b"upp", b"metadata", bytes(10))
ORDER = Order(0, "M", PACKAGE.digest, OrderState.RELEASED)
EID = bytes(range(16))


@pytest.fixture
def store():
    opened = SqliteStore()
    opened.add_package(PACKAGE)
    yield opened
    opened.close()


def test_orders_come_back_as_they_were_kept(store):
    order = store.add_order(
        Order(0, "M", PACKAGE.digest, OrderState.AVAILABLE, EID, bytes(32), True, 1 << 62, 1, 2, False)
    )
    assert order.id == 1
    assert store.find_order("M") == store.order(1) == store.orders()[0] == order
    assert store.find_order("") is None
    assert store.find_order("m") is None


def test_default_orders_of_an_eid_come_before_those_for_anybody(store):
    anybody = store.add_order(Order(0, "", PACKAGE.digest, OrderState.RELEASED))
    mine = store.add_order(Order(0, "", PACKAGE.digest, OrderState.RELEASED, EID))
    store.add_order(Order(0, "", PACKAGE.digest, OrderState.RELEASED, bytes(16)))
    assert store.default_orders(EID) == [mine, anybody]


def test_a_download_is_fresh_until_it_is_kept(store):
    order = store.add_order(ORDER)
    assert store.download(order.id, EID) == Download(order.id, EID)
    kept = Download(order.id, EID, OrderState.DOWNLOADED, 2, 1, bytes(65), b"t", 9)
    store.put_download(kept)
    assert store.download(order.id, EID) == kept
    assert store.downloads(eid=EID) == store.downloads(iccid=bytes(10)) == store.downloads() == [kept]
    assert store.downloads(eid=bytes(16)) == store.downloads(iccid=b"\x01" * 10) == []


def test_transactions_and_notifications(store):
    order = store.add_order(ORDER)
    transaction = Transaction(b"tx", order.id, EID, b"certificate", b"\x06\x03\x88\x37\x0a", 5)
    store.add_transaction(transaction)
    assert store.find_transaction(b"tx") == transaction
    assert store.find_transaction(b"other") is None
    record = NotificationRecord("a" * 64, b"raw", EID, 1, "install", bytes(10), True, "success", 7)
    assert store.add_notification(record)
    assert not store.add_notification(record)
    assert store.notifications() == store.notifications(EID) == [record]
    assert store.notifications(bytes(16)) == []


def test_a_transaction_is_all_or_nothing(store):
    def half_done():
        with store.transaction():
            store.add_order(ORDER)
            with store.transaction():
                store.add_package(StoredPackage("e" * 64, b"", b"", bytes(10)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half_done()
    assert store.orders() == []
    with pytest.raises(RigError, match="lost a package"):
        store.package("e" * 64)
    with store.transaction():
        store.add_order(ORDER)
    assert len(store.orders()) == 1


def test_a_file_keeps_everything(tmp_path, make_bench, tools):
    path = tmp_path / "smdp.sqlite"
    first = SqliteStore(path)
    first.add_package(PACKAGE)
    order = first.add_order(ORDER)
    first.close()
    second = SqliteStore(path)
    assert second.orders() == [order]
    assert second.package(PACKAGE.digest) == PACKAGE
    second.close()


def test_files_that_are_no_store(tmp_path):
    text = tmp_path / "text"
    text.write_text("this is no database, and long enough to be none of the small ones" * 20)
    foreign = tmp_path / "foreign"
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE other (x)")
    connection.close()
    for path in (text, foreign, tmp_path / "no" / "such" / "folder", tmp_path):
        with pytest.raises(ConfigError) as caught:
            SqliteStore(path)
        assert str(path) in str(caught.value)


def test_a_failing_store_is_the_rigs_fault(store):
    with pytest.raises(RigError, match="store failed"):
        store.add_order(Order(0, "M", "no such package", OrderState.RELEASED))
    with pytest.raises(RigError, match="store failed"):
        store.add_order(Order(0, "M", PACKAGE.digest, OrderState.RELEASED, max_downloads=1 << 80))


# -------------------------------------------------------------------------------------------------------------- release


def test_the_same_release_twice_keeps_the_state(bench):
    euicc = bench.euicc()
    bench.download(euicc)
    bench.release()
    assert bench.state() == "Downloaded"
    assert bench.store.find_order("TEST").eid == euicc.eid


def test_a_matching_id_belongs_to_one_profile(bench, tools):
    with pytest.raises(ConfigError, match="taken by another profile"):
        bench.release("TEST", tools.package(10))


@pytest.mark.parametrize("matching_id", ["lower", "A B", "A$B", "É", "A" * 256, "A\n"])
def test_a_matching_id_is_of_the_right_letters(bench, matching_id):
    with pytest.raises(ConfigError, match="MatchingID"):
        bench.release(matching_id)


def test_metadata_must_fit_the_package(bench, tools):
    with pytest.raises(ConfigError, match="different profiles"):
        bench.release("OTHER", None, tools.metadata(bytes(10)))


@pytest.mark.parametrize("upp", [b"\xa0", b"\xa0\x05\x80", b"text"])
def test_a_malformed_package_is_not_released(bench, upp):
    with pytest.raises(BenchError) as caught:
        bench.release("BAD", upp)
    assert isinstance(caught.value, CodecError | ConfigError)
    assert bench.store.find_order("BAD") is None


def test_malformed_metadata_is_not_released(bench):
    with pytest.raises(CodecError):
        bench.release("BAD", None, b"\xbf\x25\x05\x5a")


@pytest.mark.parametrize("options", [{"eid": b"short"}, {"confirmation_code": ""}])
def test_contradictions(bench, options):
    with pytest.raises(ConfigError):
        bench.release("BAD", **options)
