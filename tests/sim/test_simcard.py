"""The whole simulated eUICC as its terminal meets it: born with a profile, reset, cut off, restored from a snapshot."""

from dataclasses import replace

import pytest

from esim_bench import clock
from esim_bench.codec.es10 import ECASD_AID, ISD_R_AID
from esim_bench.codec.metadata import Metadata
from esim_bench.codec.saip import ProfilePackage, encode_element
from esim_bench.crypto.identity import EuiccIdentity
from esim_bench.crypto.keys import Curve
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import ConfigError
from esim_bench.ports import FormFactor, PreloadedProfile
from esim_bench.servers.pki import create_pki, make_eid
from esim_drivers.sim.card import SimCard
from esim_drivers.sim.nvm import Nvm, PowerLost
from esim_drivers.sim.personality import Personality, personality

ICCID = bytes.fromhex("98001032547698103214")
ICCID_AS_PRINTED = bytes.fromhex("89000123456789012341")
ENABLE = "BF3111A00C5A0A" + ICCID.hex() + "8101FF"
DISABLE = "BF3211A00C5A0A" + ICCID.hex() + "8101FF"


@pytest.fixture(scope="module")
def identity() -> EuiccIdentity:
    pki = create_pki(
        SeededRandomness("pki"), curve=Curve.P256, hosts=["smdp.example.com"], now_ns=clock.VIRTUAL_EPOCH_NS
    )
    return pki.issue_euicc(make_eid(1), SeededRandomness("euicc"))


def profile(enabled: bool = True) -> PreloadedProfile:
    """A profile of a few files: MF, EF.DIR, EF.ICCID, and access rules that let anybody read."""
    arr = {
        "fileDescriptor": b"\x42\x21\x00\x05",
        "efFileSize": b"\x05",
        "securityAttributesReferenced": b"\x2f\x06\x01",
    }
    head = {"mandated": None, "identification": 1}
    everybody = {"securityAttributesReferenced": b"\x2f\x06\x01"}
    package = b"".join(
        encode_element(kind, value)
        for kind, value in (
            (
                "header",
                {
                    "major-version": 2,
                    "minor-version": 3,
                    "profileType": "factory",
                    "iccid": ICCID_AS_PRINTED,
                    "eUICC-Mandatory-services": {},
                    "eUICC-Mandatory-GFSTEList": ["2.23.143.1.2.1"],
                },
            ),
            (
                "mf",
                {
                    "mf-header": head,
                    "templateID": "2.23.143.1.2.1",
                    "mf": [("fileDescriptor", {"pinStatusTemplateDO": b"\x01\x0a"})],
                    "ef-iccid": [("fileDescriptor", everybody), ("fillFileContent", ICCID)],
                    "ef-dir": [("fileDescriptor", {"fileDescriptor": b"\x42\x21\x00\x10", "efFileSize": b"\x10"})],
                    "ef-arr": [("fileDescriptor", arr), ("fillFileContent", bytes.fromhex("8001019000"))],
                },
            ),
            ("end", {"end-header": head | {"identification": 2}}),
        )
    )
    assert ProfilePackage.parse(package).iccid == ICCID
    return PreloadedProfile(Metadata(ICCID, "bench", "factory").encode(), package, enabled)


def make_card(identity: EuiccIdentity, made: Personality | None = None, nvm: Nvm | None = None) -> SimCard:
    card = SimCard(
        identity, made or personality("standard"), SeededRandomness("card"), [profile()], FormFactor.FF4, nvm=nvm
    )
    card.power_on()
    return card


def send(card: SimCard, command: str) -> str:
    return card.transmit(bytes.fromhex(command.replace(" ", "")))[0].hex().upper()


def es10(card: SimCard, request: str) -> str:
    """Open the ISD-R on a channel, send one function, close the channel: the response with its status word."""
    channel = send(card, "0070000001")[:2]
    assert send(card, f"{channel}A4040C10{ISD_R_AID.hex()}") == "9000"
    answer = send(card, f"8{channel[1]}E29100{len(request) // 2:02X}{request}00")
    while answer[-4:-2] == "61":
        answer = answer[:-4] + send(card, f"{channel}C00000{answer[-2:]}")
    sw = send(card, f"007080{channel}")
    assert sw[:2] in ("90", "91")
    return answer


def read_iccid(card: SimCard) -> str:
    if send(card, "00A4080C022FE2")[:2] not in ("90", "91"):
        return "none"
    return send(card, "00B000000A")[:20]


def test_a_new_card_has_its_factory_profile_and_an_empty_journal(identity: EuiccIdentity) -> None:
    card = make_card(identity)
    assert card.nvm.writes == 0
    assert read_iccid(card) == ICCID.hex()
    assert es10(card, "BF3E035C015A") == "BF3E125A10" + identity.eid.hex().upper() + "9000"
    assert send(card, f"00A4040010{ECASD_AID.hex()}00").startswith("6F")
    assert card.free_memory < card.personality.nvm_size


def test_isd_r_and_ecasd_are_found_by_the_beginning_of_their_names(identity: EuiccIdentity) -> None:
    card = make_card(identity)
    assert ISD_R_AID.hex().upper() in send(card, "00A404000AA0000005591010FFFFFF00")
    assert ECASD_AID.hex().upper() in send(card, "00A404020AA0000005591010FFFFFF00")
    assert send(card, "00A404020AA0000005591010FFFFFF") == "6A82"


@pytest.mark.parametrize(("name", "mode"), [("standard", "04"), ("mff2", "09")])
def test_a_switch_raises_refresh_and_the_files_follow(identity: EuiccIdentity, name: str, mode: str) -> None:
    card = make_card(identity, personality(name))
    assert send(card, "8010000004FFFFFFFF") == "9000"
    assert es10(card, DISABLE).endswith("910B")
    assert card.cat_busy
    assert send(card, "801200000B")[:14] == "D009810301" + "01" + mode
    assert send(card, f"801400000C81030101{mode}82028281830100") == "9000"
    card.reset()
    assert read_iccid(card) == "none"
    assert es10(card, ENABLE).startswith("BF31038001")
    card.reset()
    assert read_iccid(card) == ICCID.hex()


def test_a_cut_at_any_write_of_a_switch_leaves_one_of_two_states(identity: EuiccIdentity) -> None:
    whole = make_card(identity)
    snapshot = whole.nvm.snapshot()
    es10(whole, DISABLE)
    writes = whole.nvm.writes
    assert writes > 1
    seen = []
    for cut in range(writes + 1):
        card = make_card(identity, nvm=Nvm.restore(snapshot))
        card.nvm.cut_before = cut
        try:
            es10(card, DISABLE)
        except PowerLost:
            assert not card.powered
            card.power_on()
        card.reset()
        assert card.isdr.registry.violations() == []
        enabled = card.isdr.registry.enabled() is not None
        assert read_iccid(card) == (ICCID.hex() if enabled else "none")
        seen.append(enabled)
    assert seen == sorted(seen, reverse=True)
    assert seen[0]
    assert not seen[-1]


def test_a_card_lives_on_from_its_snapshot(identity: EuiccIdentity) -> None:
    card = make_card(identity)
    es10(card, DISABLE)
    again = make_card(identity, nvm=Nvm.restore(card.nvm.snapshot()))
    assert again.isdr.registry.enabled() is None
    assert read_iccid(again) == "none"
    assert len(again.isdr.registry.profiles()) == 1  # not given the factory's profile twice


def test_the_same_commands_take_the_same_time_and_give_the_same_bytes(identity: EuiccIdentity) -> None:
    commands = [
        bytes.fromhex(text) for text in ("0070000001", "01A4040410" + ISD_R_AID.hex() + "00", "81E2910003BF2E0000")
    ]
    one, other = make_card(identity), make_card(identity)
    assert [one.transmit(command) for command in commands] == [other.transmit(command) for command in commands]


def test_a_factory_profile_that_does_not_fit_is_the_operators_mistake(identity: EuiccIdentity) -> None:
    tight = replace(personality("standard"), nvm_size=300)
    with pytest.raises(ConfigError, match="factory profile 1"):
        SimCard(identity, tight, SeededRandomness("card"), [profile()])
