"""Every reason to cancel a session, in every state of it (SGP.22 5.7.14); every event that is notified (SGP.22 3.5)."""

import pytest

from esim_bench.codec.es10 import CANCEL_REASONS
from esim_bench.codec.es10_results import EVENTS
from esim_bench.codec.tlv import encode


def test_the_tables_are_those_of_the_standard():
    assert list(CANCEL_REASONS) == [0, 1, 2, 3, 4, 5, 127]
    assert EVENTS == ("install", "enable", "disable", "delete")


def authenticated(lpa):
    lpa.authenticate()


def prepared(lpa):
    lpa.prepare()


def loading(lpa):
    metadata = encode(0xBF25, encode(0x5A, bytes(10)), encode(0x91, b"A"), encode(0x92, b"B"))
    for segment in lpa.bpp(b"\xa0\x00", metadata)[:3]:
        assert lpa.card.chain(segment) == (b"", 0x9000)


@pytest.mark.parametrize("reason", CANCEL_REASONS)
@pytest.mark.parametrize("state", [authenticated, prepared, loading])
def test_every_reason_cancels_a_session_in_every_state(bench, state, reason):
    card = bench.card()
    lpa = bench.lpa(card)
    state(lpa)
    request = encode(0xBF41, encode(0x80, lpa.server.transaction), encode(0x81, bytes((reason,))))
    assert card.es10(request).get(0xA0, 0x30, 0x82).value == bytes((reason,))
    assert card.es10(request).get(0x81).value == b"\x05"
    card.reset()
    assert card.notifications() == []


def test_every_event_is_notified(bench):
    card = bench.card()
    bench.download(card, 1)
    card.es10(bench.switch(0xBF31, 1, refresh=False))
    card.es10(bench.switch(0xBF32, 1, refresh=False))
    card.es10(encode(0xBF33, encode(0x5A, bench.iccid(1))))
    listed = card.es10("BF2800").get(0xA0).children()
    bits = [one.get(0x81).value for one in listed]
    assert bits == [bytes((7 - bit, 0x80 >> bit)) for bit in range(len(EVENTS))]
