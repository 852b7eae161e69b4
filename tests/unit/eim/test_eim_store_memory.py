"""What the eIM's store remembers between requests is what its file says, whoever wrote it and whatever failed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from esim_bench.servers.eim import Device, EimOrder, OrderState, SqliteEimStore
from esim_bench.servers.eim.view import ProfileView, View

EID = bytes.fromhex("89049032123451234512345678901235")


@pytest.fixture
def two(tmp_path):
    """Two programs on one file that has an eUICC."""
    stores = [SqliteEimStore(tmp_path / "eim.sqlite") for _ in range(2)]
    assert stores[0].add_device(Device(EID, "meter"))
    yield stores
    for store in stores:
        store.close()


def test_what_another_program_changed_of_a_device_is_seen(two):
    ours, theirs = two
    assert ours.find_device(EID).label == "meter"
    theirs.put_device(replace(theirs.find_device(EID), label="gate", view=View((ProfileView(bytes(10)),))))
    assert ours.find_device(EID).label == "gate"
    with ours.transaction():
        assert ours.find_device(EID).view.known == (ProfileView(bytes(10)),)


def test_columns_that_did_not_change_are_not_written(two):
    """Each program changes something else of what it has just read; neither takes back what the other did."""
    ours, theirs = two
    ours.put_device(replace(ours.find_device(EID), counter=7))
    theirs.put_device(replace(theirs.find_device(EID), token=1 << 80))
    ours.put_device(replace(ours.find_device(EID), seen_ns=3))
    assert theirs.find_device(EID) == Device(EID, "meter", counter=7, token=1 << 80, seen_ns=3)


def test_orders_of_another_program_are_seen(two):
    ours, theirs = two
    assert ours.orders(EID, OrderState.QUEUED) == []
    first = theirs.add_order(EimOrder(0, EID, "package", b"\xa0\x00"))
    assert ours.orders(EID, OrderState.QUEUED) == [first]
    sent = replace(first, state=OrderState.SENT, counter=5, request=b"\xbf\x51\x00", sends=1)
    ours.put_order(sent)
    second = ours.add_order(EimOrder(0, EID, "data", b"\xbf\x52\x00"))
    assert theirs.orders(EID, OrderState.SENT, OrderState.QUEUED) == [sent, second]
    assert theirs.order_of_counter(EID, 5) == ours.order_of_counter(EID, 5) == sent
    done = replace(sent, state=OrderState.DONE, outcome="ok", verified=True)
    theirs.put_order(done)
    assert ours.orders(EID, OrderState.SENT) == []
    assert ours.order_of_counter(EID, 5) == done
    assert ours.orders(EID) == [done, second]


def test_an_order_may_be_opened_again(two):
    ours, _ = two
    order = ours.add_order(EimOrder(0, EID, "package", b"\xa0\x00", state=OrderState.LOST))
    assert ours.orders(EID, OrderState.SENT) == []
    ours.put_order(replace(order, state=OrderState.SENT))
    assert [one.id for one in ours.orders(EID, OrderState.SENT)] == [order.id]


@pytest.mark.parametrize("path", ["file", ":memory:"])
def test_a_transaction_that_failed_leaves_nothing_behind(tmp_path, path):
    store = SqliteEimStore(path if path == ":memory:" else tmp_path / path)
    store.add_device(Device(EID))
    order = store.add_order(EimOrder(0, EID, "package", b"\xa0\x00"))
    assert store.orders(EID, OrderState.QUEUED) == [order]

    def change_and_fail():
        with store.transaction():
            store.put_device(replace(store.find_device(EID), counter=9))
            store.put_order(replace(order, state=OrderState.SENT))
            store.add_order(EimOrder(0, EID, "package", b"\xa0\x00"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change_and_fail()
    assert store.find_device(EID).counter == 1
    assert store.orders(EID, OrderState.QUEUED, OrderState.SENT) == store.orders(EID) == [order]
    store.close()


def test_a_device_that_was_never_added_is_not_remembered():
    store = SqliteEimStore()
    store.put_device(Device(EID))
    assert store.find_device(EID) is None
    store.close()
