"""eUICC Packages from the eIM's signature to the signed result: order of the checks, execution, what is kept."""

import pytest

from esim_bench.codec import euicc_package, tlv
from esim_bench.codec.euicc_operations import (
    AddEim,
    Delete,
    DeleteEim,
    Disable,
    Enable,
    ListEim,
    ListProfileInfo,
    UnknownOperation,
)
from esim_bench.codec.euicc_package import SignedError, SignedResult, UnsignedError
from esim_bench.crypto.keys import Curve


def test_an_enable_from_association_to_delivery(iot):
    card, eim = iot.associated(1, 2, enabled=1)
    result = card.load(eim.package(Enable(iot.iccid(2)), transaction=b"\x07"))
    assert isinstance(result, SignedResult)
    eim.check(card.identity, result)
    assert (result.eim_id, result.counter, result.transaction_id) == (eim.eim_id, 1, b"\x07")
    assert iot.codes(result) == [("enable", 0)]
    assert card.enabled() == iot.iccid(2)
    assert card.proactive, "the terminal hears of it by REFRESH"
    # It waits, byte for byte, until the eIM has it; its number comes after those of the notifications.
    assert card.results() == [result]
    assert card.notifications() == [(0, 0x20), (1, 0x40)]
    assert result.seq == 2
    remove = f"BF30038001{result.seq:02X}"
    assert card.es10(remove).get(0x80).value == b"\x00"
    assert card.results() == []
    assert card.es10(remove).get(0x80).value == b"\x01"


# ------------------------------------------------------------------------------------------------------ checks


def test_a_package_of_an_unknown_eim_is_answered_without_a_signature(iot):
    card, _ = iot.associated()
    stranger = iot.Eim("stranger.example.com")
    result = card.load(stranger.package(ListEim(), transaction=b"\x01\x02"))
    assert result == UnsignedError("stranger.example.com", b"\x01\x02", None, raw=result.raw)


@pytest.mark.parametrize("with_token", [True, False])
def test_a_wrong_signature_is_answered_with_the_token_if_there_is_one(iot, with_token):
    card, eim = iot.associated(token=with_token)
    before = card.nvm.contents()
    package = bytearray(eim.package(ListEim()))
    package[-1] ^= 1
    result = card.load(bytes(package))
    assert isinstance(result, UnsignedError)
    assert result.association_token == eim.token == (1 if with_token else None)
    assert card.nvm.contents() == before, "not even the counter moves"
    eim.counter = 0
    assert isinstance(card.load(eim.package(ListEim())), SignedResult)


def test_the_token_is_part_of_what_is_signed(iot):
    card, eim = iot.associated()
    for wrong in (0, 2, 128):
        assert isinstance(card.load(eim.package(ListEim(), token=wrong)), UnsignedError)
    assert isinstance(card.load(eim.package(ListEim())), SignedResult)


@pytest.mark.parametrize("token", [127, 128, 255, 256, 32768])
def test_tokens_are_signed_integers(iot, token):
    """128 is 84 02 00 80: whoever leaves the zero out has another data object."""
    card = iot.card()
    card.nvm.put("iot/tokens", (token - 1).to_bytes(8, "big"))
    eim = iot.Eim()
    (eim.token,) = card.add(eim.configuration(association_token=-1))
    assert eim.token == token
    result = card.load(eim.package(ListEim()))
    eim.check(card.identity, result)


@pytest.mark.parametrize("damage", ["no operations", "no signature", "transaction of 17 bytes", "eimId twice"])
def test_a_package_that_is_not_parsable_is_answered_without_a_signature(iot, damage):
    card, eim = iot.associated()
    package = tlv.parse(eim.package(ListEim(), transaction=bytes(16)))
    signed, signature = package.children()
    members = signed.children()
    if damage == "no operations":
        members.pop()
    elif damage == "transaction of 17 bytes":
        members[3] = tlv.parse(tlv.encode(0x82, bytes(17)))
    elif damage == "eimId twice":
        members.insert(0, members[0])
    parts = [tlv.encode(0x30, *(one.raw for one in members))]
    if damage != "no signature":
        parts.append(signature.raw)
    result = card.load(tlv.encode(0xBF51, *parts))
    assert isinstance(result, UnsignedError)
    assert (result.eim_id, result.association_token) == (eim.eim_id, eim.token)


def test_a_package_changed_in_any_byte_is_not_executed(iot):
    card, eim = iot.associated(1)
    package = eim.package(Enable(iot.iccid(1)), transaction=b"\x01\x02")
    before = card.nvm.contents()
    for at in range(len(package)):
        changed = bytearray(package)
        changed[at] ^= 1 << at % 8
        data, sw = card.chain(bytes(changed))
        if sw == 0x9000 and data[:2] == b"\xbf\x51":
            assert not isinstance(euicc_package.parse_result(data), SignedResult), f"byte {at}"
        assert card.nvm.contents() == before, f"byte {at}"
    assert isinstance(card.load(package), SignedResult)


def test_bytes_without_an_eim_id_are_bad_data(iot):
    card, _ = iot.associated()
    assert card.chain(bytes.fromhex("BF5100")) == (b"", 0x6A80)
    assert card.chain(bytes.fromhex("BF5105300302")) == (b"", 0x6A80)


def test_the_checks_come_in_the_order_of_the_standard(iot):
    """Each package is wrong in all later respects as well: what is answered is the first of them."""
    card, eim = iot.associated()
    assert isinstance(card.load(eim.package(ListEim())), SignedResult)
    elsewhere = bytes(16)
    assert iot.error(card.load(eim.package(ListEim(), counter=1, eid=elsewhere))) == 3
    small = iot.again(card.nvm.snapshot(), personality=iot.personality(max_package_size=16))
    assert iot.error(small.load(eim.package(ListEim(), counter=1))) == 4
    assert iot.error(small.load(eim.package(ListEim(), counter=0x800000))) == 6
    assert iot.error(small.load(eim.package(ListEim(), counter=2))) == 15


def test_signed_errors_are_signed_and_leave_the_counter(iot):
    card, eim = iot.associated()
    before = card.nvm.contents()
    result = card.load(eim.package(ListEim(), eid=bytes(16), transaction=b"\x09"))
    assert isinstance(result, SignedError)
    eim.check(card.identity, result)
    assert (result.counter, result.transaction_id, result.name) == (1, b"\x09", "invalidEid")
    assert card.nvm.contents() == before
    assert isinstance(card.load(eim.package(ListEim(), counter=1)), SignedResult)


@pytest.mark.parametrize("curve", list(Curve))
def test_eims_may_have_keys_of_both_curves(iot, curve):
    card, eim = iot.associated(eim=iot.Eim(curve=curve))
    eim.check(card.identity, card.load(eim.package(ListEim())))


# ------------------------------------------------------------------------------------------------------ execution


def test_operations_run_in_their_order_up_to_the_first_that_fails(iot):
    card, eim = iot.associated(1, 2, 3, enabled=1)
    result = card.load(eim.package(Disable(iot.iccid(1)), Enable(iot.iccid(9)), Enable(iot.iccid(2))))
    assert iot.codes(result) == [("disable", 0), ("enable", 1)]
    assert card.enabled() is None
    # A package that failed has used its counter.
    assert iot.error(card.load(eim.package(ListEim(), counter=1))) == 4


def test_a_switch_may_be_a_disable_and_an_enable(iot):
    card, eim = iot.associated(1, 2, enabled=1)
    result = card.load(eim.package(Disable(iot.iccid(1)), Enable(iot.iccid(2))))
    assert iot.codes(result) == [("disable", 0), ("enable", 0)]
    assert card.enabled() == iot.iccid(2)
    card.reset()
    assert card.enabled() == iot.iccid(2)


def test_a_second_enable_and_a_disable_after_an_enable_are_errors(iot):
    card, eim = iot.associated(1, 2, 3, enabled=1)
    start = card.nvm.snapshot()
    one, two, three = map(iot.iccid, (1, 2, 3))
    for operations, codes in (
        ((Enable(two), Enable(three)), [0, 127]),
        ((Enable(two), Disable(two)), [0, 127]),
        ((Disable(one), Disable(one)), [0, 127]),
    ):
        card = iot.again(start)
        result = card.load(eim.package(*operations))
        assert [code for _, code in iot.codes(result)] == codes
        assert card.enabled() == (None if isinstance(operations[0], Disable) else two)


def test_an_unknown_operation_ends_a_package_where_it_stands(iot):
    card, eim = iot.associated(1, 2)
    unknown = UnknownOperation(bytes.fromhex("BF7F00"))
    result = card.load(eim.package(Enable(iot.iccid(1)), unknown, ListProfileInfo(), list_tag=0xA0))
    assert iot.codes(result) == [("enable", 0), ("processingTerminated", 2)]
    damaged = UnknownOperation(bytes.fromhex("A3035A0101"))
    assert iot.codes(card.load(eim.package(damaged))) == [("processingTerminated", 2)]


def test_a_package_without_operations_has_an_empty_result(iot):
    card, eim = iot.associated()
    assert iot.codes(card.load(eim.package(list_tag=0xA1))) == []


def test_results_too_long_for_the_card_end_the_package(iot):
    card, eim = iot.associated(1, 2, 3, personality=iot.personality(max_package_result_size=150))
    result = card.load(eim.package(Enable(iot.iccid(1)), ListProfileInfo(), Disable(iot.iccid(1))))
    assert iot.codes(result) == [("enable", 0), ("processingTerminated", 1)]
    assert card.results() == [result]
    # A shorter list finds room.
    short = ListProfileInfo(bytes.fromhex("BF2D035C015A"))
    card.reset()
    assert iot.codes(card.load(eim.package(short))) == [("listProfileInfo", 0)]


def test_list_profile_info_gives_what_an_eim_wants_to_know(iot):
    card, eim = iot.associated(1, 2, enabled=2)
    (result,) = card.load(eim.package(ListProfileInfo())).results
    one, two = tlv.parse_all(result.content)
    assert [member.tag for member in one.children()] == [0x5A, 0x4F, 0x9F70, 0x91, 0x92, 0x95]
    assert (one.get(0x9F70).value, two.get(0x9F70).value) == (b"\x00", b"\x01")
    search = ListProfileInfo(tlv.encode(0xBF2D, tlv.encode(0xA0, tlv.encode(0x5A, iot.iccid(2))), b"\x5c\x01\x92"))
    (result,) = card.load(eim.package(search)).results
    assert result.content == tlv.encode(0xE3, tlv.encode(0x92, b"Name 2"))


def test_the_list_waits_for_the_reset_after_a_switch(iot):
    card, eim = iot.associated(1, 2, enabled=1)
    result = card.load(eim.package(Enable(iot.iccid(2)), ListProfileInfo()))
    assert iot.codes(result) == [("enable", 0), ("listProfileInfo", 0)], "in the same package it is there at once"
    assert iot.codes(card.load(eim.package(ListProfileInfo()))) == [("listProfileInfo", 11)]
    card.reset()
    assert iot.codes(card.load(eim.package(ListProfileInfo()))) == [("listProfileInfo", 0)]


def test_the_requester_may_delete_itself_and_still_gets_its_result(iot):
    card, eim = iot.associated()
    other = iot.Eim("testeim2.example.com")
    added = card.load(eim.package(AddEim(other.configuration(association_token=-1))))
    (result,) = added.results
    other.token = result.association_token
    assert other.token == 2
    gone = card.load(eim.package(DeleteEim(eim.eim_id), ListEim()))
    eim.check(card.identity, gone)
    assert iot.codes(gone) == [("deleteEim", 0), ("listEim", 0)]
    assert [one.eim_id for one in gone.results[1].eims] == [other.eim_id]
    assert isinstance(card.load(eim.package(ListEim())), UnsignedError)
    last = card.load(other.package(DeleteEim(other.eim_id), ListEim()))
    other.check(card.identity, last)
    assert iot.codes(last) == [("deleteEim", 2), ("listEim", 0)], "lastEimDeleted is no failure"
    assert [one.seq for one in card.results()] == [added.seq, gone.seq, last.seq]
    # Now there is room for a first one again; its token is a new one, so that old packages hold no more.
    (token,) = card.add(eim.configuration(association_token=-1, counter=0))
    assert token == 3
    assert isinstance(card.load(eim.package(ListEim(), counter=1)), UnsignedError)


# ------------------------------------------------------------------------------------------------------ results


def test_the_oldest_result_makes_room_for_a_new_one(iot):
    card, eim = iot.associated(personality=iot.personality(max_package_results=3))
    results = [card.load(eim.package(ListEim())) for _ in range(5)]
    assert card.results() == results[2:]
    assert [one.seq for one in results] == [0, 1, 2, 3, 4]


def test_results_make_room_for_each_other_when_the_memory_is_full(iot):
    card, eim = iot.associated()
    first = card.load(eim.package(ListEim()))
    used = card.nvm.used
    tight = iot.again(card.nvm.snapshot(), personality=iot.personality(nvm_size=used + len(first.raw) // 2))
    second = tight.load(eim.package(ListEim()))
    assert tight.results() == [second]


def test_a_full_card_can_still_be_told_to_delete(iot):
    card, eim = iot.associated(1, 2)
    full = iot.again(card.nvm.snapshot(), personality=iot.personality(nvm_size=card.nvm.used))
    result = full.load(eim.package(Delete(iot.iccid(2))))
    assert iot.codes(result) == [("delete", 0)]
    assert full.results() == [result]
    assert list(full.profiles()) == [iot.iccid(1)]


def test_results_outlive_a_power_cut(iot):
    card, eim = iot.associated(1)
    result = card.load(eim.package(Enable(iot.iccid(1))))
    card.card.power_off()
    card.reset()
    assert card.results() == [result]
    assert euicc_package.parse_result(result.raw) == result
