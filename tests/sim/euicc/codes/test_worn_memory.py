"""Cells that take no more writes: the card says so, and what it had stays as it was."""

from dataclasses import replace

import pytest

from esim_bench.codec.apdu import Command
from esim_bench.codec.es10 import ISD_R_AID, EuiccInfo2
from esim_bench.codec.tlv import encode, parse
from esim_drivers.sim.nvm import MemoryFailure, Nvm
from esim_drivers.sim.personality import STANDARD, personality

MEMORY_FAILURE = 0x6581


def test_a_write_that_does_not_hold_rolls_its_transaction_back():
    nvm = Nvm()
    nvm.put("a/1", b"old")
    nvm.worn = ("a/",)

    def write_both():
        with nvm.transaction():
            nvm.put("b/1", b"new")
            nvm.put("a/1", b"new")

    with pytest.raises(MemoryFailure):
        write_both()
    assert nvm.contents() == {"a/1": b"old"}
    nvm.delete("a/1")
    assert nvm.contents() == {}


@pytest.mark.parametrize("request_hex", ["BF2E00"])
def test_a_function_without_a_code_for_it_ends_in_a_status_word(bench, request_hex):
    card = bench.card(personality=replace(STANDARD, worn_memory=("euicc/",)))
    assert card.chain(bytes.fromhex(request_hex)) == (b"", MEMORY_FAILURE)


@pytest.mark.parametrize(
    ("request_bytes", "answer"),
    [
        (encode(0xBF3F, encode(0x80, b"dp.example.com")), "BF3F0380017F"),
        (encode(0xBF29, encode(0x5A, bytes.fromhex("98001032547698100010")), encode(0x90, b"x")), "BF290380017F"),
    ],
)
def test_a_function_with_a_code_for_it(bench, request_bytes, answer):
    card = bench.card(1, personality=replace(STANDARD, worn_memory=("euicc/",)))
    assert card.es10(request_bytes).raw == bytes.fromhex(answer)


def test_a_result_that_the_memory_does_not_take_is_made_up_for_at_the_next_start(bench):
    card = bench.card()
    lpa = bench.lpa(card)
    segments = lpa.bpp(bench.package(bench.iccid(1)), bench.kit.metadata(1))
    card.nvm.worn = ("notification/",)
    answers = [card.chain(segment) for segment in segments]
    assert (b"", MEMORY_FAILURE) in answers
    card.reset()
    assert (card.profiles(), card.notifications()) == ([], [])
    card.nvm.worn = ()
    card.reset()
    (result,) = card.notifications()
    assert result.get(0xBF27, 0xA2, 0xA1, 0x81).value == b"\x0b"
    assert bench.download(card, 1).find(0xBF27, 0xA2, 0xA0) is not None


def test_the_sparse_personality_has_what_it_must(bench):
    card = bench.card(personality=personality("sparse"))
    info = EuiccInfo2.parse(card.es10("BF2200").raw)
    assert info.members["rspCapability"] == (b"\x80", 1)
    assert card.es10("BF4300").raw == bytes.fromhex("BF4302A000")
    assert bench.download(card, 1).find(0xBF27, 0xA2, 0xA0) is not None
    refused = [bench.download(card, 2, more).get(0xBF27, 0xA2, 0xA1, 0x81).value[0] for more in ("950100", "99020520")]
    assert refused == [6, 15]


def test_euicc_info2_with_forbidden_rules_is_read_by_the_schema(bench):
    card = bench.card(personality=replace(STANDARD, forbidden_policy_rules=("ppr1", "ppr2")))
    info = EuiccInfo2.parse(card.es10("BF2200").raw)
    assert info.members["forbiddenProfilePolicyRules"] == (b"\x60", 3)


def test_an_lpa_of_its_own_is_told_in_the_fci(bench):
    card = bench.card(personality=replace(STANDARD, lpae_support=("lpaeUsingScws",)))
    data, _ = card.apdu(Command(0x01, 0xA4, 4, 0, ISD_R_AID, 256))
    assert parse(data).get(0xE0, 0x03).value == bytes.fromhex("0640")
    assert card.es10("BF420480020640").raw == bytes.fromhex("BF4203800100")
    assert card.es10("BF420480020780").raw == bytes.fromhex("BF4203800101")
