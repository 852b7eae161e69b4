"""Power cuts at every step of a poll: whatever is asked of the card, sent, or written, and just before and after.

The card and the flash survive; the process starts anew. Then each order was executed at most once by our doing and its
eIM has exactly one outcome of it.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esim_bench.agents.ipa.state import Journal, Keeper, Report, eim_text
from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.euicc_operations import AddEim, Delete, DeleteEim, Enable, ListProfileInfo

CODE = "LPA:1$dp.example.com$SECRET-ID"


def packages(parts, device):
    device.eim.package(Enable(parts.SECOND))
    device.eim.package(ListProfileInfo(), eid=bytes(16))
    device.eim.package(Delete(parts.FIRST))


def packages_executed(parts, device):
    assert device.euicc.executed == [(device.eim.eim_id, 2), (device.eim.eim_id, 4)]
    assert parts.outcomes(device.eim) == [("enable ok",), ("invalidEid",), ("delete ok",)]
    assert device.euicc.profiles == {parts.SECOND: 1}


def rollback(parts, device):
    device.no_network.add(parts.SECOND)
    device.eim.package(Enable(parts.SECOND, rollback=True))
    device.eim.package(ListProfileInfo())


def rolled_back(parts, device):
    assert device.euicc.executed == [(device.eim.eim_id, 2), (device.eim.eim_id, 3)]
    assert parts.outcomes(device.eim) == [("rollback ok",), ("listProfileInfo ok",)]
    assert device.euicc.profiles == {parts.FIRST: 1, parts.SECOND: 0}


def direct(parts, device):
    device.eim.trigger(activation_code=CODE)
    device.eim.package(Enable(parts.NEW))


def downloaded(parts, device):
    assert device.euicc.downloads == 1
    assert parts.outcomes(device.eim) == [("ok",), ("enable ok",)]
    assert device.euicc.enabled == parts.NEW


def downloaded_directly(parts, device):
    downloaded(parts, device)
    # The result and the enabling.
    assert len(set(device.smdp.notified)) == 2


def failing(parts, device):
    device.euicc.install_error = 9
    device.eim.trigger(activation_code=CODE)


def failed(parts, device):
    assert device.euicc.downloads == 1
    assert parts.outcomes(device.eim) == [("installFailedDueToIccidAlreadyExistsOnEuicc in loadProfileElements",)]


def refused(parts, device):
    device.eim.trigger(smds=True)
    device.eim.data(0xBF20)


def told(parts, device):
    assert parts.outcomes(device.eim) == [("undefinedError",), ("ok",)]


def eims(parts, device):
    other = parts.Eim("other.example.com")
    device.eims[other.eim_id] = other
    device.eim.package(AddEim(other.configuration))
    device.eim.package(DeleteEim(device.eim.eim_id))
    other.package(ListProfileInfo())


def eims_changed(parts, device):
    other = device.eims["other.example.com"]
    assert parts.outcomes(device.eim) == [("addEim ok",), ("deleteEim ok",)]
    assert parts.outcomes(other) == [("listProfileInfo ok",)]


STORIES = {
    "packages": (packages, packages_executed, {}),
    "packages, notifications by the eIM": (packages, packages_executed, {"features": ("indirectRsp",)}),
    "rollback": (rollback, rolled_back, {}),
    "direct download": (direct, downloaded_directly, {"features": ("directRsp",)}),
    "indirect download": (direct, downloaded, {"features": ("indirectRsp", "minimizeEsipaBytes")}),
    "download that fails": (failing, failed, {"features": ("directRsp",)}),
    "refusals": (refused, told, {}),
    "eims": (eims, eims_changed, {}),
}


@pytest.mark.parametrize("story", STORIES)
def test_a_cut_anywhere(ipa_parts, story):
    order, check, options = STORIES[story]

    def ordered():
        # The story is one of connectivity, not of how often a download is begun.
        device = ipa_parts.Device(tries=4, **options)
        order(ipa_parts, device)
        return device

    whole = ordered()
    assert whole.poll().ok
    check(ipa_parts, whole)
    assert whole.quiet()
    assert whole.power.steps > 10
    for step in range(whole.power.steps):
        device = ordered()
        device.power.left = step
        with pytest.raises(ipa_parts.Cut):
            device.poll()
        device.power.left = None
        device.start()
        device.poll()
        # What an eIM deleted itself from is not polled; all others have nothing left.
        device.poll()
        check(ipa_parts, device)
        assert not device.euicc.results, step
        assert device.journal is None, step
        # A result goes twice only where the eIM's answer to the first was lost with the power.
        assert all(len(eim.received) <= len(eim.results) + 1 for eim in device.eims.values()), step


def test_two_cuts(ipa_parts):
    device = ipa_parts.Device()
    rollback(ipa_parts, device)
    device.poll()
    steps = device.power.steps
    for first in range(0, steps, 5):
        for second in range(0, steps - first, 3):
            device = ipa_parts.Device()
            rollback(ipa_parts, device)
            for left in (first, second):
                device.power.left = left
                try:
                    device.poll()
                except ipa_parts.Cut:
                    device.power.left = None
                    device.start()
            device.power.left = None
            device.poll()
            rolled_back(ipa_parts, device)
            assert device.quiet()


@pytest.mark.parametrize("act", ["fallback", "emergency", "rollback"])
def test_cuts_in_a_switch_of_the_device_itself(ipa_parts, act):
    def begun():
        device = ipa_parts.Device()
        device.euicc.fallback = device.euicc.emergency_profile = ipa_parts.SECOND
        if act == "fallback":
            return device, device.ipa.connectivity_lost()
        if act == "emergency":
            return device, device.ipa.emergency(True)
        # The profile before was the second one, and a package allowed to go back to it.
        device.euicc.emergency_profile = None
        device.euicc.enable(ipa_parts.SECOND)
        device.start()
        device.eim.package(Enable(ipa_parts.FIRST, rollback=True))
        device.poll()
        device.eim.fields.clear()
        device.power.steps = 0
        return device, device.ipa.rollback()

    device, job = begun()
    device.run(job)
    cause = {"fallback": 1, "emergency": 2, "rollback": 127}[act]
    for step in range(device.power.steps):
        device, job = begun()
        device.power.left = step
        with pytest.raises(ipa_parts.Cut):
            device.run(job)
        device.power.left = None
        device.start()
        assert device.poll().ok
        switched = device.euicc.shown == ipa_parts.SECOND
        # The eIM hears of it if and only if it took place.
        asked = next(fields for function, fields in device.eim.fields if function == "getEimPackage")
        assert asked.get("stateChangeCause") == (cause if switched else None), step


def test_a_download_that_is_cut_off_again_and_again_ends(ipa_parts):
    device = ipa_parts.Device(features=("directRsp",), tries=3)
    device.eim.trigger(activation_code=CODE)
    device.poll()
    assert device.euicc.downloads == 1
    device = ipa_parts.Device(features=("directRsp",), tries=3)
    device.eim.trigger(activation_code=CODE)

    def gone(function, fields):
        raise ipa_parts.Cut

    device.smdp.answer = gone
    for _ in range(3):
        with pytest.raises(ipa_parts.Cut):
            device.poll()
        device.start()
    report = device.poll()
    assert report.done[0].results == ("undefinedError", "interrupted")


# --------------------------------------------------------------------------------------------------------- the journal


def test_a_flash_that_is_no_journal_is_none(ipa_parts):
    for rubbish in (b"", b"{}", b"\xff", b"[]", b'{"package":1}'):
        device = ipa_parts.Device()
        device.flash.values[f"ipa/journal/{ipa_parts.EID.hex()}"] = rubbish
        device.start()
        device.eim.package(ListProfileInfo())
        assert device.poll().ok


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.builds(
            Report,
            st.just(eim_text(EimConfigurationData("eim"))),
            st.sampled_from(["package", "download"]),
            raw=st.binary(max_size=8).map(bytes.hex),
            seq=st.none() | st.integers(0, 9),
            refusals=st.integers(0, 2),
        ),
        max_size=20,
    ),
    st.dictionaries(st.text(max_size=4), st.integers(0, 127), max_size=3),
    st.lists(st.integers(0, 1 << 40), max_size=3).map(tuple),
    st.booleans(),
)
def test_what_is_written_is_read_again(reports, causes, acknowledged, emergency):
    from esim_bench.agents.ipa import MemoryState

    flash = MemoryState()
    keeper = Keeper(flash)
    keeper.open(bytes(16))
    keeper.update(causes=causes, acknowledged=acknowledged, emergency=emergency)
    for report in reports:
        keeper.report(report)
    again = Keeper(flash)
    again.open(bytes(16))
    assert again.now == keeper.now
    assert keeper.now.reports == tuple(reports[-16:])
    keeper.update(**{name: getattr(Journal(), name) for name in Journal.__slots__})
    assert flash.values == {}


def test_another_card_has_a_journal_of_its_own(ipa_parts):
    device = ipa_parts.Device(fallback_on_loss=False)
    device.no_network.add(ipa_parts.SECOND)
    device.eim.package(Enable(ipa_parts.SECOND))
    device.poll()
    assert device.journal is not None
    first = device.euicc
    second = device.euicc = ipa_parts.Euicc(device.power)
    second.eid = bytes.fromhex("89049032123451234512345678901236")
    device.start()
    report = device.poll()
    assert (report.ok, report.done) == (True, [])
    device.euicc = first
    device.no_network.clear()
    device.start()
    device.poll()
    assert ipa_parts.outcomes(device.eim) == [("enable ok",)]
