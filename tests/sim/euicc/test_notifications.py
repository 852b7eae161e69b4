"""The list of pending notifications: numbers, filters, removal, signatures."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esim_bench.codec.tlv import encode
from esim_bench.crypto import ecdsa
from esim_bench.crypto.certificates import Certificate

ENABLE, DISABLE, DELETE = "0640", "0520", "0410"


def switch(card, tag, iccid, refresh=False):
    request = encode(tag, encode(0xA0, encode(0x5A, iccid)), encode(0x81, b"\xff" if refresh else b"\x00"))
    return card.result(request)


def listed(card, request="BF2800"):
    """Return (number, event bits, address, ICCID) of each notification in the list."""
    found = []
    for metadata in card.es10(request).get(0xA0).children():
        assert metadata.tag == 0xBF2F
        number, events, address, iccid = metadata.children()
        assert (number.tag, events.tag, address.tag, iccid.tag) == (0x80, 0x81, 0x0C, 0x5A)
        found.append((int.from_bytes(number.value, "big"), events.value.hex(), address.value.decode(), iccid.value))
    return found


def test_nothing_pending_is_an_empty_list(card):
    assert card.es10("BF2800").raw == bytes.fromhex("BF2802A000")
    assert card.es10("BF2B00").raw == bytes.fromhex("BF2B02A000")


def test_a_switch_tells_of_the_old_profile_and_of_the_new_one(kit):
    card = kit.with_profiles(1, 2)
    switch(card, 0xBF31, kit.iccid(1))
    switch(card, 0xBF31, kit.iccid(2))
    switch(card, 0xBF32, kit.iccid(2))
    card.result(encode(0xBF33, encode(0x5A, kit.iccid(2))))
    address = "notify.example.com"
    assert listed(card) == [
        (2, ENABLE, address, kit.iccid(1)),
        (3, DISABLE, address, kit.iccid(1)),
        (4, ENABLE, address, kit.iccid(2)),
        (5, DISABLE, address, kit.iccid(2)),
        (6, DELETE, address, kit.iccid(2)),
    ]


def test_other_notifications_are_signed_and_carry_the_chain(kit):
    card = kit.with_profiles(1)
    switch(card, 0xBF31, kit.iccid(1))
    (notification,) = card.notifications()
    assert notification.tag == 0x30
    metadata, signature, euicc, eum = notification.children()
    certificate = Certificate.load(euicc.raw)
    assert euicc.raw == card.identity.signing[0].euicc_certificate
    assert eum.raw == card.identity.signing[0].eum_certificate
    ecdsa.verify(certificate.public_key, signature.value, metadata.raw)


def test_one_notification_for_each_address_that_wants_the_event(kit, lpa, card):
    wishes = encode(
        0xB6,
        encode(0x30, bytes.fromhex("80020640"), encode(0x81, b"a.example.com")),
        encode(0x30, bytes.fromhex("80020460"), encode(0x81, b"b.example.com")),
        encode(0x30, bytes.fromhex("80020410"), encode(0x81, b"c.example.com")),
    )
    lpa.download(kit.package(1), kit.metadata(1, events=b"", more=wishes))
    card.es10("BF3003800100")
    switch(card, 0xBF31, kit.iccid(1))
    switch(card, 0xBF32, kit.iccid(1))
    assert [(event, address) for _, event, address, _ in listed(card)] == [
        (ENABLE, "a.example.com"),
        (ENABLE, "b.example.com"),
        (DISABLE, "b.example.com"),
    ]


def test_filters_by_event_and_by_number(kit):
    card = kit.with_profiles(1)
    for tag in (0xBF31, 0xBF32, 0xBF31):
        switch(card, tag, kit.iccid(1))
    assert [number for number, *_ in listed(card)] == [1, 2, 3]
    assert [number for number, *_ in listed(card, "BF280481020640")] == [1, 3]
    assert [number for number, *_ in listed(card, "BF280481020560")] == [1, 2, 3]
    assert [number for number, *_ in listed(card, "BF280481020780")] == []
    assert len(card.es10("BF2B05A003800102").get(0xA0).children()) == 1
    assert len(card.es10("BF2B06A00481020520").get(0xA0).children()) == 1
    assert card.es10("BF2B05A003800109").raw == bytes.fromhex("BF2B02A000")


def test_a_notification_stays_until_it_is_removed(kit):
    card = kit.with_profiles(1)
    switch(card, 0xBF31, kit.iccid(1))
    card.power_cycle()
    assert len(listed(card)) == 1
    assert card.result("BF3003800101") == 0
    assert card.result("BF3003800101") == 1
    assert listed(card) == []


def test_numbers_are_not_used_again_after_removal_and_power_cycles(kit):
    card = kit.with_profiles(1)
    seen = []
    for _ in range(3):
        switch(card, 0xBF31, kit.iccid(1))
        switch(card, 0xBF32, kit.iccid(1))
        seen += [number for number, *_ in listed(card)]
        for number in [number for number, *_ in listed(card)]:
            card.es10(encode(0xBF30, encode(0x80, bytes((number,)))))
        card.power_cycle()
    assert seen == [1, 2, 3, 4, 5, 6]


def test_numbers_from_80_on_have_a_leading_zero(kit):
    card = kit.with_profiles(1)
    card.nvm.put("euicc/sequence", (0x80).to_bytes(4, "big"))
    switch(card, 0xBF31, kit.iccid(1))
    assert card.es10("BF2800").get(0xA0, 0xBF2F, 0x80).value == b"\x00\x80"
    assert len(card.es10("BF2B06A00480020080").get(0xA0).children()) == 1
    assert card.result("BF300480020080") == 0


def test_requests_that_they_can_make_no_sense_of(card):
    for request in ("BF3000", "BF30028000", "BF2804810209FF", "BF2B04A0028000", "BF2B04A0028500"):
        assert card.result(request) == 127, request


@settings(max_examples=20, deadline=None)
@given(body=st.binary(max_size=40))
@pytest.mark.parametrize("tag", [0xBF28, 0xBF2B, 0xBF30])
def test_any_body_gets_an_answer_of_the_standard(tag, body, identity, card_of):
    data, sw = card_of(identity).chain(encode(tag, body))
    assert sw in (0x9000, 0x6A80)
    assert bool(data) == (sw == 0x9000)
