"""What an engineer does on one slot, each by its method of the desk, over the real pipe."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from esim_bench.desk.api import Busy, JournalOpened, Progress, Source
from esim_bench.events import ApduEvent
from esim_bench.trace import Reader

ICCID_A = "8988211000000000011"
BOOTSTRAP = "8988211000000000003"


@pytest.fixture(scope="module")
def on(open_desk: Callable[..., Any]) -> Any:
    """Return a desk on the packaged simulated rack."""
    return open_desk("sim-3")


def test_a_slot_is_read_at_once(on: Any) -> None:
    found = on(on.desk.read("A1"))

    assert len(found.eid) == 32
    assert found.eid.startswith("89")
    assert found.atr.startswith("3B")
    assert found.powered
    assert [(one.iccid, one.state, one.label, one.plmn) for one in found.profiles] == [
        (BOOTSTRAP, "enabled", "Bootstrap Global", "001-01")
    ]
    assert found.modem is None


def test_a_modem_tells_its_network_too(on: Any) -> None:
    modem = on(on.desk.read("B1")).modem

    assert (modem.manufacturer, modem.sim) == ("Quectel", "ready")
    assert modem.registration.startswith("home")
    assert modem.operator
    assert -120 < modem.signal_dbm < -40
    assert on(on.desk.modem("B1")).imei == modem.imei


def test_the_euicc_tells_who_it_is(on: Any) -> None:
    found = on(on.desk.info("A1"))

    sections = {section.name: section for section in found.sections}
    values = {node.name: node.value for node in sections["EUICCInfo2"].children}
    assert values["sgp22 version"] == "2.5.0"
    assert int(values["free memory"]) > 100_000
    assert {"CIs whose servers it accepts", "Configured addresses", "Rules Authorisation Table"} <= set(sections)
    bench = {node.name: node.value for node in sections["Bench"].children}
    assert bench == {
        "iccid": BOOTSTRAP,
        "form factor": "4FF",
        "contradictions": "none",
        "served by bench": "yes",
    }


def test_a_profile_s_whole_life(on: Any) -> None:
    before = len(on.notices)
    installed = on(on.desk.download("C1", Source(profile="operational-a")))
    assert [one.state for one in installed] == ["enabled", "disabled"]
    steps = [(one.done, one.total) for one in on.notices[before:] if isinstance(one, Progress)]
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1] > 1

    assert on(on.desk.nickname("C1", ICCID_A, "of the lab"))[1].label == "of the lab"
    assert on(on.desk.nickname("C1", ICCID_A, ""))[1].nickname == ""

    enabled = on(on.desk.enable("C1", ICCID_A[-4:]))
    assert [(one.iccid, one.state) for one in enabled] == [(BOOTSTRAP, "disabled"), (ICCID_A, "enabled")]
    refused = on.trouble(on.desk.delete("C1", ICCID_A))
    assert refused.kind == "AgentError"
    assert refused.found == "profileNotInDisabledState"
    assert [one.state for one in on(on.desk.disable("C1", ICCID_A))] == ["disabled", "disabled"]
    on(on.desk.enable("C1", BOOTSTRAP))
    assert [one.iccid for one in on(on.desk.delete("C1", ICCID_A))] == [BOOTSTRAP]


def test_notifications_are_sent_or_removed_one_by_one(on: Any) -> None:
    on(on.desk.download("C1", Source(profile="operational-b"), enable=True))
    on(on.desk.enable("C1", BOOTSTRAP))
    waiting = on(on.desk.notifications("C1"))
    assert {one.operation for one in waiting} == {"enable", "disable"}

    first, second = waiting[:2]
    assert first.seq not in [one.seq for one in on(on.desk.send_notification("C1", first.seq))]
    assert second.seq not in [one.seq for one in on(on.desk.remove_notification("C1", second.seq))]
    gone = on.trouble(on.desk.remove_notification("C1", second.seq))
    assert gone.what == "no notification of this number"


def test_a_download_wants_exactly_one_source(on: Any) -> None:
    assert on.trouble(on.desk.download("A1", Source())).what == "nothing to download"
    both = on.trouble(on.desk.download("A1", Source(profile="operational-a", activation_code="LPA:1$a.b$C")))
    assert both.what == "more than one thing to download"
    assert on.trouble(on.desk.download("A1", Source(profile="nonsense"))).kind == "ConfigError"


def test_an_euicc_without_sgp32_has_no_eims(on: Any) -> None:
    assert on(on.desk.eims("A1")) == []
    assert on.trouble(on.desk.order("A1", "list-profiles")).what == "this device has no IPA"


def test_an_at_line_and_what_its_answer_means(on: Any) -> None:
    for _ in range(400):
        if on(on.desk.at("B1", "AT+CEREG?")).meaning == ["registration: home"]:
            break
        on(asyncio.sleep(0.05))  # the modem is still looking for its network
    signal = on(on.desk.at("B1", "AT+CSQ"))
    assert signal.ok
    assert signal.answer[-1] == "OK"
    assert signal.meaning[0].startswith("RSSI -")
    assert on(on.desk.at("B1", "AT+CEREG?")).meaning == ["registration: home"]
    assert on(on.desk.at("B1", "AT+CPIN?")).meaning == ["SIM: ready"]
    assert on(on.desk.at("B1", 'AT+CSIM=14,"00A40004023F00"')).meaning[0].startswith("SELECT MF")
    wrong = on(on.desk.at("B1", "AT+NONSENSE"))
    assert not wrong.ok

    assert on.trouble(on.desk.at("A1", "AT")).what == "this slot has no modem"


def test_an_apdu_by_hand_or_by_name(on: Any) -> None:
    by_hand = on(on.desk.apdu("A1", "00A4 0004 02 2FE2"))
    assert (by_hand.sw, by_hand.meaning) == ("9000", "SELECT EF.ICCID -> 9000")
    assert by_hand.decoded[0].name == "62 FCP template"
    assert by_hand.decoded[0].end == len(by_hand.response) // 2
    assert on(on.desk.apdu("A1", "read binary")).response == "9888120100000000 00F3".replace(" ", "")

    assert on(on.desk.apdu("A1", "SELECT ADF.USIM")).sw == "9000"
    missing = on(on.desk.apdu("A1", "SELECT 1234"))
    assert (missing.sw, missing.response) == ("6A82", "")
    profiles = on(on.desk.apdu("A1", "GetProfilesInfo"))
    assert profiles.decoded[0].name == "BF2D ProfileInfoListResponse"
    assert profiles.decoded[0].note == "ES10c.GetProfilesInfo"
    assert on(on.desk.apdu("A1", f"EnableProfile {BOOTSTRAP}")).meaning.count("profileNotInDisabledState") == 1

    names = on(on.desk.apdu_names())
    assert "GetEID" in names
    assert any(name.startswith("SELECT <") for name in names)
    assert on.trouble(on.desk.apdu("A1", "GetEID now")).what == "not this command's arguments"
    assert on.trouble(on.desk.apdu("A1", "FROBNICATE")).what == "not a command"
    assert on.trouble(on.desk.apdu("A1", "00")).kind == "CodecError"


def test_the_files_of_the_uicc(on: Any) -> None:
    tree = {entry.path: entry for entry in on(on.desk.files("A1"))}
    assert tree["3F00"].folder
    assert tree["3F00/7F10"].name == "DF.TELECOM"
    assert tree["ADF.USIM"].folder
    assert tree["ADF.USIM/6F07"].name == "EF.IMSI"
    assert not tree["ADF.USIM/6F07"].folder

    iccid = on(on.desk.file("A1", "3F00/2FE2"))
    assert (iccid.name, iccid.structure, iccid.size) == ("EF.ICCID", "transparent", 10)
    assert iccid.decoded[0].value == BOOTSTRAP
    assert any(node.name == "access rule" and node.value.startswith("read: always") for node in iccid.control)
    directory = on(on.desk.file("A1", "3F00/2F00"))
    assert directory.structure == "linear fixed"
    assert directory.record_length * 2 == len(directory.contents[0])
    assert directory.decoded[0].children[0].note == "ADF.USIM"
    assert on(on.desk.file("A1", "ADF.USIM")).structure == "ADF"


def test_all_files_of_the_tree_can_be_read(on: Any) -> None:
    read = [on(on.desk.file("A1", entry.path)) for entry in on(on.desk.files("A1"))]

    found = {one.name: one for one in read if not one.refused}
    assert found["EF.IMSI"].decoded[0].value == "001010000000001"
    assert {"EF.SPN", "EF.UST", "EF.AD", "EF.ACC", "EF.LOCI", "EF.DIR", "MF"} <= set(found)
    assert all(one.decoded for name, one in found.items() if name in ("EF.SPN", "EF.UST", "EF.AD", "EF.ACC", "EF.PL"))
    assert {one.refused.partition(" ")[0] for one in read if one.refused} <= {"6A82", "6982", "6985"}


def test_files_with_keys_are_not_read(on: Any) -> None:
    on(on.desk.release("A1"))
    keys = on(on.desk.file("A1", "ADF.USIM/6F08"))

    assert set(keys.contents[0]) == {"2", "A"}
    assert "keys" in keys.decoded[0].note
    path = next(one.path for one in reversed(on.notices) if isinstance(one, JournalOpened) and one.slot == "A1")
    with Reader(path) as journal:
        commands = [one.event.command for one in journal if isinstance(one.event, ApduEvent)]
    after = commands[max(at for at, one in enumerate(commands) if b"\x6f\x08" in one) :]
    assert all(one[1] != 0xB0 for one in after)


def test_what_is_no_file_is_a_mistake(on: Any) -> None:
    assert on(on.desk.file("A1", "3F00/1234")).refused.startswith("6A82")
    for path in ("", "nonsense", "2FE2", "3F00/12345"):
        assert on.trouble(on.desk.file("A1", path)).what == "not the path of a file"
    assert on.trouble(on.desk.file("A1", "ADF.CSIM/6F07")).what == "the card has no such application"


def test_power_off_lasts_until_power_on(on: Any) -> None:
    assert on(on.desk.power("A1")).powered
    off = on(on.desk.power_off("A1"))
    assert (off.powered, off.how, off.proof) == (False, "simulated", "card gone")
    assert on(on.desk.power_off("A1")).powered is False

    dark = on.trouble(on.desk.profiles("A1"))
    assert dark.what == "the slot was left without power"
    assert dark.hint == "power it on first"
    on(on.desk.release("A1"))
    assert on(on.desk.power("A1")).powered is False

    assert on(on.desk.power_on("A1")).powered
    assert on(on.desk.profiles("A1"))
    assert on(on.desk.power_cycle("A1", 1.5)).powered
    assert on.trouble(on.desk.power_cycle("A1", -1.0)).what == "time without power"


def test_what_is_done_is_announced_and_kept(on: Any) -> None:
    before = len(on.notices)
    on(on.desk.profiles("B1"))
    on(on.desk.release("B1"))

    said = [one.what for one in on.notices[before:] if isinstance(one, Busy) and one.slot == "B1"]
    assert said == ["listing profiles", None]
    opened = [one for one in on.notices if isinstance(one, JournalOpened) and one.slot == "B1"]
    assert len(opened) == 1
    with Reader(opened[0].path) as journal:
        assert journal.slots == ("B1",)
        assert journal.apdus() >= 1


def test_a_slot_that_is_not_there(on: Any) -> None:
    trouble = on.trouble(on.desk.read("Z9"))
    assert (trouble.what, trouble.expected, trouble.found) == ("no slot of this name", "one of A1, B1, C1", "Z9")
    on(on.desk.release("B1"))
    on(on.desk.release("B1"))
