"""Power cuts in the middle of eUICC Packages: exactly the first operations are done, and the result says which."""

from itertools import pairwise

import pytest

from esim_bench.codec import euicc_package
from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.euicc_operations import (
    AddEim,
    Delete,
    DeleteEim,
    Disable,
    Enable,
    ListEim,
    SetDefaultDpAddress,
    UpdateEim,
)
from esim_bench.codec.euicc_package import SignedResult
from esim_drivers.sim.nvm import PowerLost


def states(card):
    """What operations change: profiles, eIMs, default address, and the notifications of it all."""
    return card.profiles(), card.eims(), card.es10("BF3C00").raw, card.notifications()


def cut_everywhere(iot, start, package):
    """Load a package on copies of a card, cut before each of its writes; yield the write and the card after it."""
    whole = iot.again(start)
    first = whole.nvm.writes
    whole.es10(package)
    for number in range(whole.nvm.writes - first):
        card = iot.again(start)
        card.nvm.cut_before = card.nvm.writes + number
        with pytest.raises(PowerLost):
            card.es10(package)
        card.reset()
        yield number, card


def psmos(iot, eim):
    return (Disable(iot.iccid(1)), Enable(iot.iccid(2)), Delete(iot.iccid(1)))


def mixed(iot, eim):
    return (Enable(iot.iccid(2)), SetDefaultDpAddress("dp.example.com"), Delete(iot.iccid(3)))


def ecos(iot, eim):
    other = iot.Eim("testeim2.example.com").configuration(association_token=-1)
    return (AddEim(other), UpdateEim(EimConfigurationData(eim.eim_id, fqdn="new.example.com")), DeleteEim(eim.eim_id))


@pytest.mark.parametrize("operations", [psmos, mixed, ecos])
def test_a_cut_leaves_exactly_the_first_operations(iot, operations):
    card, eim = iot.associated(1, 2, 3, enabled=1)
    start = card.nvm.snapshot()
    wanted = operations(iot, eim)
    package = eim.package(*wanted, transaction=b"\x05")
    # What the card looks like after the first k operations; with none of them only the counter has moved.
    done = []
    for count in range(len(wanted) + 1):
        one = iot.again(start)
        one.load(eim.package(*wanted[:count], counter=1, list_tag=0xA1 if operations is ecos else 0xA0))
        one.reset()
        done.append(states(one))
    assert all(before != after for before, after in pairwise(done))
    names = [operation.NAME for operation in wanted]
    reached = set()
    for number, cut in cut_everywhere(iot, start, package):
        results = cut.results()
        assert cut.violations() == [], f"cut before write {number}"
        assert cut.nvm.keys("iot/package") == []
        if not results:
            # Not accepted yet: nothing happened, and the same bytes can be sent again.
            assert states(cut) == done[0]
            assert iot.codes(cut.load(package)) == [(name, 0) for name in names[:2]] + [
                (names[2], iot.codes(iot.again(start).load(package))[2][1])
            ]
            reached.add(-1)
            continue
        (result,) = results
        count = len(result.results) - 1
        assert iot.codes(result) == [*((name, 0) for name in names[:count]), ("processingTerminated", 3)]
        assert states(cut) == done[count], f"cut before write {number}"
        assert (result.counter, result.transaction_id) == (1, b"\x05")
        eim.check(cut.identity, result)
        # Once accepted, always accepted: it can't be executed a second time.
        assert iot.error(cut.load(package)) == 4
        reached.add(count)
    assert reached == {-1, 0, 1, 2}


def test_a_cut_while_the_interruption_is_recorded_is_caught_up_at_the_next_start(iot):
    card, eim = iot.associated(1, 2, enabled=1)
    start = card.nvm.snapshot()
    package = eim.package(Disable(iot.iccid(1)), Enable(iot.iccid(2)))
    whole = iot.again(start)
    first = whole.nvm.writes
    whole.es10(package)
    writes = whole.nvm.writes - first
    card = iot.again(start)
    card.nvm.cut_before = card.nvm.writes + writes - 1
    with pytest.raises(PowerLost):
        card.es10(package)
    for number in range(4):
        card.nvm.cut_before = card.nvm.writes + number
        with pytest.raises(PowerLost):
            card.reset()
    card.reset()
    (result,) = card.results()
    assert iot.codes(result) == [("disable", 0), ("processingTerminated", 3)]
    assert card.violations() == []


def test_the_answer_that_never_left_the_card_still_waits(iot):
    card, eim = iot.associated(1)
    answer = card.load(eim.package(Enable(iot.iccid(1))))
    card.card.power_off()
    card.reset()
    assert [one.raw for one in card.results()] == [answer.raw]
    assert card.enabled() == iot.iccid(1)


def test_a_memory_that_takes_no_results_answers_all_the_same(iot):
    """The result can't be kept: it is the answer of this command, and gone with it."""
    card, eim = iot.associated(1, personality=iot.personality())
    worn = iot.again(card.nvm.snapshot())
    worn.nvm.worn = ("iot/result/",)
    result = worn.load(eim.package(Enable(iot.iccid(1))))
    assert isinstance(result, SignedResult)
    eim.check(worn.identity, result)
    assert iot.codes(result) == [("processingTerminated", 127)], "what can't be reported is not done"
    assert worn.enabled() is None
    assert worn.results() == []
    assert worn.violations() == []


def test_a_memory_that_takes_nothing_accepts_nothing(iot):
    card, eim = iot.associated(1)
    card.nvm.worn = ("iot/package",)
    before = card.nvm.contents()
    assert iot.error(card.load(eim.package(Enable(iot.iccid(1))))) == 127
    assert card.nvm.contents() == before
    card.nvm.worn = ()
    assert iot.codes(card.load(eim.package(Enable(iot.iccid(1)), counter=1))) == [("enable", 0)]


# ------------------------------------------------------------------------------------------------------ rollback


def test_a_rollback_replaces_the_result_that_could_not_be_delivered(iot):
    card, eim = iot.associated(1, 2, enabled=1)
    first = card.load(eim.package(Enable(iot.iccid(2), rollback=True), transaction=b"\x03"))
    raw = card.iot.packages.rolled_back(0)
    result = euicc_package.parse_result(raw)
    eim.check(card.identity, result)
    assert iot.codes(result) == [("enable", 0), ("rollback", 0)]
    assert (result.counter, result.transaction_id) == (first.counter, b"\x03")
    assert result.seq > first.seq
    assert card.results() == [result]


def test_a_rollback_after_the_delivery_adds_a_result(iot):
    card, eim = iot.associated(1, 2, enabled=1)
    first = card.load(eim.package(Enable(iot.iccid(2), rollback=True)))
    card.es10(f"BF30038001{first.seq:02X}")
    card.iot.packages.rolled_back(0)
    assert [iot.codes(one) for one in card.results()] == [[("enable", 0), ("rollback", 0)]]
    assert iot.codes(card.load(eim.package(ListEim()))) == [("listEim", 0)]
