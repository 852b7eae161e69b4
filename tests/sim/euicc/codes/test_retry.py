"""A download that is tried again: the one-time key pair that is kept for it (SGP.22 3.1.3, 5.7.5)."""

import pytest

from esim_bench.codec.tlv import encode
from esim_drivers.sim.nvm import Nvm


def otpk(response):
    return response.get(0xA0, 0x30, 0x5F49).raw


@pytest.fixture
def card(bench):
    return bench.card()


def test_a_bound_package_is_loaded_with_the_kept_key_after_a_power_cut(bench, card):
    """The package was bound to the key in the first session; the second one is told so and uses it again."""
    lpa = bench.lpa(card)
    bound = otpk(lpa.prepare())
    card.reset()
    assert otpk(lpa.prepare(bound_key=bound)) == bound
    package, metadata = bench.package(bench.iccid(1)), bench.kit.metadata(1)
    segments = lpa.server.segments(bound, card.identity.eid, package, metadata)
    assert lpa.load(segments).find(0xBF27, 0xA2, 0xA0) is not None


def test_a_refused_secure_channel_leaves_the_key_for_another_try(bench, card):
    lpa = bench.lpa(card)
    bound = otpk(lpa.prepare())
    first = lpa.server.initialise(bound, signature=encode(0x5F37, bytes(64)))
    package, metadata = bench.package(bench.iccid(1)), bench.kit.metadata(1)
    segments = lpa.server.segments(bound, card.identity.eid, package, metadata, initialise=first)
    assert lpa.load(segments).get(0xBF27, 0xA2, 0xA1, 0x81).value == b"\x02"
    assert otpk(lpa.prepare(bound_key=bound)) == bound


@pytest.mark.parametrize("done", [1, 3, 5])
def test_a_secure_channel_uses_the_key_up(bench, card, done):
    lpa = bench.lpa(card)
    bound = otpk(lpa.prepare())
    package, metadata = bench.package(bench.iccid(1)), bench.kit.metadata(1)
    for segment in lpa.server.segments(bound, card.identity.eid, package, metadata)[:done]:
        assert card.chain(segment) == (b"", 0x9000)
    assert card.nvm.keys("euicc/otpk/") == []
    card.reset()
    assert otpk(lpa.prepare(bound_key=bound)) != bound


def test_a_key_that_the_server_does_not_have_is_not_used(bench, card):
    lpa = bench.lpa(card)
    bound = otpk(lpa.prepare())
    other = otpk(lpa.prepare(bound_key=encode(0x5F49, bytes(65))))
    assert other != bound
    assert otpk(lpa.prepare(bound_key=bound)) not in (bound, other)


def test_the_kept_key_is_part_of_what_a_card_remembers(bench, card):
    lpa = bench.lpa(card)
    bound = otpk(lpa.prepare())
    again = type(card)(card.identity, nvm=Nvm.restore(card.nvm.snapshot()))
    assert otpk(bench.lpa(again).prepare(bound_key=bound)) == bound
