"""What is left after a loss of power is exactly what was committed."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from esim_drivers.sim.nvm import Nvm, PowerLost, Write

KEYS = st.sampled_from(["a", "a/b", "c", "d/1", "d/2"])
VALUES = st.binary(max_size=4)


def test_every_put_and_delete_is_one_write_of_the_journal() -> None:
    nvm = Nvm()
    nvm.put("counter", b"\x01")
    nvm.put("counter", b"\x02")
    nvm.delete("counter")
    nvm.delete("counter")  # nothing there: nothing written
    assert [(w.number, w.key, w.value) for w in nvm.journal] == [
        (0, "counter", b"\x01"),
        (1, "counter", b"\x02"),
        (2, "counter", None),
    ]
    assert nvm.contents() == {}


def test_a_transaction_sees_its_own_writes_and_leaves_all_or_nothing() -> None:
    nvm = Nvm()
    nvm.put("state", b"old")

    def failing() -> None:
        with nvm.transaction():
            nvm.put("state", b"new")
            nvm.put("more", b"x")
            assert nvm.get("state") == b"new"
            assert nvm.keys() == ["more", "state"]
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        failing()
    assert nvm.contents() == {"state": b"old"}
    with nvm.transaction():
        nvm.put("state", b"new")
        nvm.delete("more")
    assert nvm.contents() == {"state": b"new"}


def test_the_power_can_go_before_any_chosen_write() -> None:
    nvm = Nvm()
    nvm.put("a", b"1")
    nvm.cut_before = 2

    def cut() -> None:
        with nvm.transaction():
            nvm.put("a", b"2")
            nvm.put("b", b"2")

    with pytest.raises(PowerLost):
        cut()
    assert not nvm.powered
    with pytest.raises(PowerLost):
        nvm.put("a", b"3")
    nvm.power_on()
    assert nvm.contents() == {"a": b"1"}
    nvm.put("a", b"3")
    assert nvm.journal[-1] == Write(2, "a", b"3", nvm.journal[-1].transaction)


def test_a_transaction_that_the_power_ended_cannot_disturb_a_later_one() -> None:
    nvm = Nvm()
    forgotten = nvm.transaction()
    forgotten.__enter__()
    nvm.put("a", b"1")
    nvm.power_on()  # a warm reset
    assert nvm.get("a") is None
    with nvm.transaction():
        nvm.put("b", b"1")
        forgotten.__exit__(None, None, None)
        assert nvm.contents() == {}
    assert nvm.contents() == {"b": b"1"}


def test_a_long_transaction_lives_across_commands_and_dies_with_the_power() -> None:
    nvm = Nvm()
    long = nvm.begin()
    with nvm.within(long):
        nvm.put("file", b"content")
    nvm.put("pin", b"\x02")  # another command in between
    assert nvm.contents() == {"pin": b"\x02"}
    with nvm.within(long):
        assert nvm.get("file") == b"content"
    long.commit()
    assert nvm.contents() == {"pin": b"\x02", "file": b"content"}

    long = nvm.begin()
    with nvm.within(long):
        nvm.put("file", b"other")
    nvm.power_off()
    nvm.power_on()
    with pytest.raises(PowerLost):
        long.commit()
    assert nvm.get("file") == b"content"


def test_a_snapshot_restores_what_was_committed_and_depends_on_nothing_else() -> None:
    one, other = Nvm(), Nvm()
    one.put("a", b"1")
    one.put("b", b"2")
    other.put("b", b"0")
    other.put("b", b"2")
    other.put("a", b"1")
    assert one.snapshot() == other.snapshot()
    assert Nvm.restore(one.snapshot()).contents() == one.contents()


class PowerCuts(RuleBasedStateMachine):
    """A plain dictionary stands beside the NVM and is told of every commit."""

    def __init__(self) -> None:
        super().__init__()
        self.nvm = Nvm()
        self.committed: dict[str, bytes] = {}

    @precondition(lambda self: self.nvm.powered)
    @rule(key=KEYS, value=VALUES)
    def put(self, key: str, value: bytes) -> None:
        self.nvm.put(key, value)
        self.committed[key] = value

    @precondition(lambda self: self.nvm.powered)
    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.nvm.delete(key)
        self.committed.pop(key, None)

    @precondition(lambda self: self.nvm.powered)
    @rule(
        changes=st.lists(st.tuples(KEYS, st.none() | VALUES), max_size=6),
        cut=st.none() | st.integers(0, 7),
        fails=st.booleans(),
        nested=st.booleans(),
    )
    def transaction(self, changes: list[tuple[str, bytes | None]], cut: int | None, fails: bool, nested: bool) -> None:
        self.nvm.cut_before = None if cut is None else self.nvm.writes + cut
        wanted = dict(self.committed)
        try:
            with self.nvm.transaction():
                for key, value in changes:
                    if value is None:
                        self.nvm.delete(key)
                        wanted.pop(key, None)
                    elif nested:
                        with self.nvm.transaction():
                            self.nvm.put(key, value)
                    else:
                        self.nvm.put(key, value)
                    if value is not None:
                        wanted[key] = value
                    assert self.nvm.get(key) == value
                if fails:
                    raise KeyError
            self.committed = wanted
        except (PowerLost, KeyError):
            pass
        self.nvm.cut_before = None

    @rule()
    def power_off(self) -> None:
        self.nvm.power_off()

    @rule()
    def power_on(self) -> None:
        self.nvm.power_on()

    @invariant()
    def what_is_left_is_what_was_committed(self) -> None:
        assert self.nvm.contents() == self.committed
        assert self.nvm.keys() == sorted(self.committed)
        assert [write.number for write in self.nvm.journal] == list(range(self.nvm.writes))


TestPowerCuts = PowerCuts.TestCase
TestPowerCuts.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
