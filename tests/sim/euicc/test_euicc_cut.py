"""Power cuts: what a card says after one is the state before or the state after, never a mixture."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from esim_bench.codec.tlv import encode
from esim_drivers.sim.nvm import Nvm, PowerLost

ENABLE, DISABLE, DELETE = 0xBF31, 0xBF32, 0xBF33


@dataclass
class Seen:
    """All that a terminal can find out, and the counters."""

    profiles: list[bytes]
    notifications: list[bytes]
    sequence: int
    session: int

    @classmethod
    def of(cls, card):
        counters = [int.from_bytes(card.nvm.get(f"euicc/{name}") or b"", "big") for name in ("sequence", "session")]
        return cls(
            [one.raw for one in card.profiles()], [one.raw for one in card.notifications()], counters[0], counters[1]
        )


def cuts(kit, start: bytes, action: Callable[[object], object], every: int = 1):
    """Do an action on a copy of a card, cut before each of its writes; yield (write, card) after the power is back."""
    whole = kit.card(nvm=Nvm.restore(start))
    first = whole.nvm.writes
    action(whole)
    count = whole.nvm.writes - first
    assert count > 0
    for number in range(0, count, every):
        nvm = Nvm.restore(start)
        card = kit.card(nvm=nvm)
        nvm.cut_before = nvm.writes + number
        with pytest.raises(PowerLost):
            action(card)
        card.reset()
        yield number, card
    return


@pytest.mark.parametrize("case", ["enable", "switch", "disable", "delete", "memory reset", "nickname", "remove"])
def test_a_change_happens_wholly_or_not_at_all(kit, case):
    card = kit.with_profiles(1, 2)
    one, two = kit.iccid(1), kit.iccid(2)

    def switch(tag, iccid):
        return encode(tag, encode(0xA0, encode(0x5A, iccid)), bytes.fromhex("8101FF"))

    if case in ("switch", "disable", "memory reset", "remove"):
        card.es10(switch(ENABLE, one))
    request = {
        "enable": switch(ENABLE, one),
        "switch": switch(ENABLE, two),
        "disable": switch(DISABLE, one),
        "delete": encode(DELETE, encode(0x5A, two)),
        "memory reset": bytes.fromhex("BF340482020780"),
        "nickname": encode(0xBF29, encode(0x5A, one), encode(0x90, b"name")),
        "remove": bytes.fromhex("BF3003800102"),
    }[case]
    before = Seen.of(card)
    start = card.nvm.snapshot()
    for number, cut in cuts(kit, start, lambda card: card.es10(request)):
        assert Seen.of(cut) == before, f"cut before write {number}"
        assert cut.isdr.registry.violations() == []
        # And the card goes on: the same request now succeeds.
        assert cut.result(request) == 0
        assert cut.isdr.registry.violations() == []


def test_an_installation_happens_wholly_or_leaves_one_result(kit):
    card = kit.with_profiles(1)
    card.es10(encode(ENABLE, encode(0xA0, encode(0x5A, kit.iccid(1))), b"\x81\x01\x00"))
    before = Seen.of(card)
    start = card.nvm.snapshot()
    outcomes = set()

    def download(card):
        kit.lpa(card).download(kit.package(2, elements=40, size=60), kit.metadata(2))

    for number, cut in cuts(kit, start, download):
        after = Seen.of(cut)
        assert after.profiles == before.profiles, f"cut before write {number}"
        assert after.notifications[: len(before.notifications)] == before.notifications
        assert after.sequence >= before.sequence
        assert after.session >= before.session
        assert cut.isdr.registry.violations() == []
        assert cut.nvm.get("euicc/installing") is None
        new = cut.notifications()[len(before.notifications) :]
        outcomes.add(len(new))
        if new:
            assert [one.get(0xBF27, 0xA2, 0xA1, 0x81).value for one in new] == [b"\x0b"]
        assert after.sequence - before.sequence == len(new)
        cut.power_cycle()
        assert Seen.of(cut) == after
    assert outcomes == {0, 1}


def test_a_cut_while_the_interruption_is_recorded_is_caught_up_at_the_next_start(kit):
    card = kit.card()
    lpa = kit.lpa(card)
    for segment in lpa.bpp(kit.package(1), kit.metadata(1))[:-1]:
        card.chain(segment)
    for number in range(3):
        card.nvm.power_off()
        card.nvm.cut_before = card.nvm.writes + number
        with pytest.raises(PowerLost):
            card.reset()
    card.reset()
    (result,) = card.notifications()
    assert result.get(0xBF27, 0xA2, 0xA1, 0x81).value == b"\x0b"
