"""A new profile that leads nowhere, fallback and return, emergency: what the device does on its own."""

import pytest

from esim_bench.codec.euicc_operations import Enable, ListProfileInfo
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import AgentError, ConfigError, TransportError


def test_no_connectivity_with_the_new_profile_goes_back(ipa_parts):
    device = ipa_parts.Device()
    device.no_network.add(ipa_parts.SECOND)
    device.eim.package(Enable(ipa_parts.SECOND, rollback=True))
    report = device.poll()
    assert report.ok, report.errors
    assert report.kinds() == ["rollback", "package", "notification"]
    # The eIM hears once, over the old profile, of the result that replaced the first one.
    assert ipa_parts.outcomes(device.eim) == [("rollback ok",)]
    assert len(device.eim.received) == 1
    assert device.euicc.shown == ipa_parts.FIRST
    assert device.recoveries == 2
    # Attachment was given its time: 2 s and 4 s.
    assert device.slept == pytest.approx(6)
    assert device.quiet()


@pytest.mark.parametrize("failures", [["broken"] * 3, ["silent"] * 3])
def test_a_result_that_cannot_be_delivered_goes_back(ipa_parts, failures):
    device = ipa_parts.Device()
    device.eim.package(Enable(ipa_parts.SECOND, rollback=True))
    device.failures = [None, *failures]
    assert device.poll().ok
    assert ipa_parts.outcomes(device.eim) == [("rollback ok",)]
    assert device.euicc.shown == ipa_parts.FIRST


def test_an_eim_that_answers_was_reached(ipa_parts):
    device = ipa_parts.Device()
    device.eim.package(Enable(ipa_parts.SECOND, rollback=True))
    device.eim.statuses["provideEimPackageResult"] = [500]
    report = device.poll()
    assert "500" in str(report.errors[device.eim.eim_id])
    assert device.euicc.shown == ipa_parts.SECOND
    del device.eim.statuses["provideEimPackageResult"]
    assert device.poll().ok
    assert ipa_parts.outcomes(device.eim) == [("enable ok",)]
    assert device.quiet()


def test_without_rollback_the_result_waits_for_a_network(ipa_parts):
    device = ipa_parts.Device(fallback_on_loss=False)
    device.no_network.add(ipa_parts.SECOND)
    device.eim.package(Enable(ipa_parts.SECOND))
    report = device.poll()
    assert isinstance(report.errors[device.eim.eim_id], TransportError)
    assert device.euicc.shown == ipa_parts.SECOND
    for _ in range(2):
        assert not device.poll().ok
    device.no_network.clear()
    device.start()
    assert device.poll().kinds() == ["package", "notification"]
    assert ipa_parts.outcomes(device.eim) == [("enable ok",)]
    assert len(device.eim.received) == 1
    assert device.quiet()


def test_a_rollback_that_the_euicc_refuses(ipa_parts):
    device = ipa_parts.Device(fallback_on_loss=False)
    device.no_network.add(ipa_parts.SECOND)
    device.euicc.refuse[0xBF58] = 0x6A88
    device.eim.package(Enable(ipa_parts.SECOND, rollback=True))
    assert not device.poll().ok
    assert device.euicc.shown == ipa_parts.SECOND
    device.no_network.clear()
    device.poll()
    assert ipa_parts.outcomes(device.eim) == [("enable ok",)]
    assert device.quiet()


def test_nothing_is_asked_of_a_card_that_its_terminal_resets_after_the_rollback(ipa_parts, monkeypatch):
    device = ipa_parts.Device()
    device.no_network.add(ipa_parts.SECOND)
    answer, reset = device.euicc.es10, device.euicc.reset
    busy = []

    async def es10(request):
        if busy:
            raise TransportError("SIM busy")
        response = await answer(request)
        if request[:2] == bytes.fromhex("BF58"):
            busy.append(True)
        return response

    def restart():
        busy.clear()
        reset()

    monkeypatch.setattr(device.euicc, "es10", es10)
    monkeypatch.setattr(device.euicc, "reset", restart)
    device.eim.package(Enable(ipa_parts.SECOND, rollback=True))
    report = device.poll()
    assert report.ok, report.errors
    assert ipa_parts.outcomes(device.eim) == [("rollback ok",)]
    assert device.recoveries == 2
    assert device.quiet()


def test_a_rollback_whose_answer_is_lost(ipa_parts):
    device = ipa_parts.Device()
    device.no_network.add(ipa_parts.SECOND)
    device.euicc.break_after = [0xBF58]
    device.eim.package(Enable(ipa_parts.SECOND, rollback=True))
    assert device.poll().ok
    assert ipa_parts.outcomes(device.eim) == [("rollback ok",)]


def test_a_rollback_on_the_operators_word(ipa_parts):
    device = ipa_parts.Device()
    assert device.run(device.ipa.rollback()) == "rollbackNotAllowed"
    device.eim.package(Enable(ipa_parts.SECOND, rollback=True))
    device.poll()
    device.eim.orders.append(("euiccPackageRequest", b"", b"\xa0\x02", 2))
    assert device.run(device.ipa.rollback()) == "ok"
    assert device.euicc.shown == ipa_parts.FIRST
    device.run(device.ipa.resume())
    assert ipa_parts.outcomes(device.eim) == [("enable ok",), ("rollback ok",)]


# --------------------------------------------------------------------------------------------------------- fallback


def test_fallback_and_return(ipa_parts):
    device = ipa_parts.Device()
    device.euicc.fallback = ipa_parts.SECOND
    assert device.run(device.ipa.connectivity_lost()) == "ok"
    assert device.euicc.shown == ipa_parts.SECOND
    assert device.poll().ok
    assert device.run(device.ipa.connectivity_returned()) == "ok"
    assert device.euicc.shown == ipa_parts.FIRST
    device.poll()
    causes = [fields.get("stateChangeCause") for name, fields in device.eim.fields if name == "getEimPackage"]
    assert causes == [1, 1]
    assert device.run(device.ipa.connectivity_returned()) == "fallbackNotAvailable"
    assert device.quiet()


def test_a_poll_without_any_network_falls_back(ipa_parts):
    device = ipa_parts.Device()
    device.euicc.fallback = ipa_parts.SECOND
    device.no_network.add(ipa_parts.FIRST)
    device.eim.package(ListProfileInfo())
    report = device.poll()
    assert report.ok, report.errors
    assert report.kinds() == ["fallback", "package"]
    assert device.euicc.shown == ipa_parts.SECOND


def test_a_loss_without_a_fallback_profile(ipa_parts):
    device = ipa_parts.Device()
    device.no_network.add(ipa_parts.FIRST)
    report = device.poll()
    assert "fallbackNotAvailable" in str(report.errors[""])
    assert device.eim.eim_id in report.errors
    assert device.run(device.ipa.connectivity_lost()) == "fallbackNotAvailable"
    assert device.journal is None


def test_before_version_1_1_there_is_no_fallback(ipa_parts):
    device = ipa_parts.Device(ipa_parts.Eim(version=Version.V1_0_1))
    for act in (device.ipa.connectivity_lost, device.ipa.connectivity_returned, lambda: device.ipa.emergency(True)):
        with pytest.raises(AgentError, match="notSupported"):
            device.run(act())
    assert device.journal is None


def test_a_card_that_breaks_in_a_fallback_that_took_place(ipa_parts):
    device = ipa_parts.Device()
    device.euicc.fallback = ipa_parts.SECOND
    device.euicc.break_after = [0xBF5D]
    assert device.run(device.ipa.connectivity_lost()) == "ok"
    device.euicc.fallback = ipa_parts.FIRST
    device.euicc.refuse[0xBF5D] = 0x6F00
    with pytest.raises(Exception, match="6F00"):
        device.run(device.ipa.connectivity_lost())


def test_an_emergency_profile_that_is_not_there(ipa_parts):
    device = ipa_parts.Device()
    assert device.run(device.ipa.emergency(True)) == "ecallNotAvailable"
    assert device.journal is None


# --------------------------------------------------------------------------------------------------------- patience


def test_an_eim_that_is_busy_is_asked_again(ipa_parts):
    device = ipa_parts.Device()
    device.eim.package(ListProfileInfo())
    device.failures = ["broken", "silent"]
    assert device.poll().ok
    assert device.slept == pytest.approx(2 + 4)


def test_a_lost_acknowledgement_brings_the_same_result_again(ipa_parts):
    device = ipa_parts.Device()
    device.eim.package(ListProfileInfo())
    device.failures = [None, "lost"]
    assert device.poll().ok
    assert len(device.eim.received) == 2
    assert device.eim.received[0] == device.eim.received[1]
    assert device.euicc.executed == [(device.eim.eim_id, 2)]
    assert device.quiet()


def test_waiting_grows_up_to_the_longest(ipa_parts):
    device = ipa_parts.Device(tries=6, first_delay=1.0, longest_delay=5.0, fallback_on_loss=False)
    device.failures = ["broken"] * 6
    assert not device.poll().ok
    assert device.slept == pytest.approx(1 + 2 + 4 + 5 + 5)


def test_an_error_that_the_eim_will_not_have_is_dropped_in_the_end(ipa_parts):
    device = ipa_parts.Device()
    device.eim.package(ListProfileInfo(), eid=bytes(16))
    for number in range(3):
        device.eim.codes["provideEimPackageResult"] = 127
        device.poll()
        device.eim.orders.clear()
        assert (device.journal is None) == (number == 2)


def test_an_order_that_comes_again_before_its_result_was_taken_is_not_done_again(ipa_parts):
    device = ipa_parts.Device(features=("directRsp",))
    device.eim.trigger(activation_code="LPA:1$dp.example.com$ONCE")
    device.eim.statuses["provideEimPackageResult"] = [500, 500]
    assert not device.poll().ok
    # The result is refused once more, but the eIM gives the trigger again, and then takes what comes.
    device.eim.statuses["provideEimPackageResult"] = [500]
    answer = device.eim.answer

    def well_again(function, fields):
        if function == "getEimPackage":
            device.eim.statuses.clear()
        return answer(function, fields)

    device.eim.answer = well_again
    assert device.poll().ok
    assert device.euicc.downloads == 1
    assert ipa_parts.outcomes(device.eim) == [("ok",)]
    assert device.quiet()


def test_an_eim_that_moved_gets_its_results_at_its_new_address(ipa_parts):
    from dataclasses import replace

    device = ipa_parts.Device()
    old = device.eim.eim_id
    device.eim.package(ListProfileInfo())
    device.eim.statuses["provideEimPackageResult"] = [500]
    assert not device.poll().ok
    device.euicc.eims[old] = replace(device.euicc.eims[old], fqdn="new.example.com")
    device.eims = {"new.example.com": device.eim}
    device.eim.statuses.clear()
    device.eim.host = "new.example.com"
    assert device.poll().ok
    assert ipa_parts.outcomes(device.eim) == [("listProfileInfo ok",)]
    assert device.quiet()


def test_nothing_is_begun_while_the_card_does_not_say_what_became_of_a_package(ipa_parts):
    one, other = ipa_parts.Eim(), ipa_parts.Eim("other.example.com")
    device = ipa_parts.Device(one, other)
    device.euicc.break_after = [0xBF51, 0xBF2B]
    one.package(Enable(ipa_parts.SECOND, rollback=True))
    other.package(ListProfileInfo())
    device.ipa._look_again = False
    report = device.poll()
    assert list(report.errors) == [one.eim_id]
    assert device.euicc.executed == [(one.eim_id, 2)]
    assert device.poll().ok
    assert ipa_parts.outcomes(one) == [("enable ok",)]
    assert ipa_parts.outcomes(other) == [("listProfileInfo ok",)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"features": ("flying",)},
        {"tries": 0},
        {"first_delay": -1.0},
        {"first_delay": 9.0, "longest_delay": 1.0},
        {"timeout": 0.0},
        {"network": b"\x00"},
        {"user_agent": "two\nlines"},
        {"most_packages": 0},
    ],
)
def test_settings_that_make_no_sense(ipa_parts, wrong):
    with pytest.raises(ConfigError, match="expected"):
        ipa_parts.Device(**wrong)


def test_features_are_those_of_the_codec():
    from esim_bench.agents.ipa.settings import FEATURES, IpaSettings
    from esim_bench.codec import ipa_data

    assert FEATURES == ipa_data.FEATURES
    assert IpaSettings(features=("indirectRsp", "indirectRspServerCommunication")).features == (FEATURES[1],)


def test_an_eim_that_does_not_know_the_euicc(ipa_parts):
    device = ipa_parts.Device()
    device.eim.answer = lambda function, fields: {"eimPackageError": 2}
    assert "eidNotFound" in str(device.poll().errors[device.eim.eim_id])


def test_an_address_that_is_no_host(ipa_parts):
    from dataclasses import replace

    device = ipa_parts.Device()
    eim_id = device.eim.eim_id
    device.euicc.eims[eim_id] = replace(device.euicc.eims[eim_id], fqdn="evil.example.com/../x")
    assert "eIM address" in str(device.poll().errors[eim_id])
    device.euicc.eims[eim_id] = replace(device.euicc.eims[eim_id], fqdn=None, id_type=3)
    assert "no address" in str(device.poll().errors[eim_id])
    device.euicc.eims[eim_id] = replace(device.euicc.eims[eim_id], fqdn=None, id_type=2)
    assert device.poll().ok
    device.euicc.eims[eim_id] = replace(device.euicc.eims[eim_id], protocols=("eimRetrieveCoaps",))
    assert device.poll().ok
    assert "HTTPS" in str(device.poll(eim_id).errors[eim_id])


def test_the_way_to_an_eim_is_made_of_its_tls_key(ipa_parts):
    from dataclasses import replace

    from esim_bench.codec.eim_configuration import KeyData

    key = KeyData(ipa_parts.CERTIFICATE, certificate=True)
    device = ipa_parts.Device()
    eim_id = device.eim.eim_id
    device.poll()
    device.euicc.eims[eim_id] = replace(device.euicc.eims[eim_id], tls_key=key)
    device.poll()
    device.poll()
    assert device.bearers == [None, key]
