"""Packages of an eIM: fetched, executed by the eUICC, their results delivered, acknowledged and removed."""

import pytest

from esim_bench.codec.euicc_operations import Delete, DeleteEim, Disable, Enable, ListProfileInfo
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import AgentError, ProtectedError


def test_a_poll_without_packages(ipa_parts):
    device = ipa_parts.Device()
    report = device.poll()
    assert (report.ok, report.done) == (True, [])
    assert device.eim.requests == ["getEimPackage"]
    assert device.eim.fields[0][1] == {"eidValue": ipa_parts.EID}
    assert device.journal is None


def test_a_package_is_executed_reported_and_removed(ipa_parts):
    device = ipa_parts.Device()
    device.eim.package(ListProfileInfo())
    report = device.poll()
    assert [(one.kind, one.eim_id, one.results) for one in report.done] == [
        ("package", device.eim.eim_id, ("listProfileInfo ok",))
    ]
    # The result went as the eUICC signed it, and is gone from its list.
    assert device.eim.received == [report.done[0].raw]
    assert device.quiet()


def test_a_switch_is_shown_before_its_result_goes_out(ipa_parts):
    device = ipa_parts.Device()
    device.eim.package(Enable(ipa_parts.SECOND))
    report = device.poll()
    assert report.ok, report.errors
    assert device.euicc.shown == ipa_parts.SECOND
    assert device.recoveries == 1
    # The notification about it went to its own server, by the IPA itself.
    assert len(device.smdp.notified) == 1
    assert report.kinds() == ["package", "notification"]
    assert device.quiet()


def test_packages_until_there_is_none(ipa_parts):
    device = ipa_parts.Device()
    device.eim.package(Enable(ipa_parts.SECOND))
    device.eim.package(Delete(ipa_parts.FIRST))
    device.eim.package(Delete(ipa_parts.FIRST))
    assert device.poll().ok
    assert ipa_parts.outcomes(device.eim) == [
        ("enable ok",),
        ("delete ok",),
        ("delete iccidOrAidNotFound",),
    ]
    assert device.quiet()


@pytest.mark.parametrize("binding", ["asn1", "json"])
@pytest.mark.parametrize("version", [Version.V1_0_1, Version.V1_2, Version.V1_3])
def test_both_bindings_and_all_versions(ipa_parts, binding, version):
    device = ipa_parts.Device(ipa_parts.Eim(version=version, binding=binding))
    device.eim.package(Enable(ipa_parts.SECOND))
    report = device.poll()
    assert report.ok, report.errors
    assert device.eim.headers["x-admin-protocol"] == "gsma/rsp/v2.1.0"
    assert device.eim.headers["user-agent"] == "gsma-rsp-ipad;esim-bench"
    assert device.quiet()


def test_what_is_not_acknowledged_stays(ipa_parts):
    device = ipa_parts.Device()
    device.eim.acknowledges = False
    device.eim.package(ListProfileInfo())
    assert device.poll().ok
    (stored,) = device.euicc.results.values()
    # It is brought again until it is.
    device.start()
    device.eim.acknowledges = True
    device.poll()
    assert device.eim.received == [stored, stored]
    assert device.quiet()


def test_only_what_was_sent_can_be_acknowledged(ipa_parts):
    one, other = ipa_parts.Eim(), ipa_parts.Eim("other.example.com")
    device = ipa_parts.Device(one, other)
    other.acknowledges = False
    other.package(ListProfileInfo())
    device.poll()
    (seq,) = device.euicc.results
    one.acknowledge_too = (seq, 77)
    one.package(ListProfileInfo())
    device.poll(one.eim_id)
    assert list(device.euicc.results) == [seq]


def test_errors_of_the_euicc_are_passed_on(ipa_parts):
    device = ipa_parts.Device()
    device.eim.package(ListProfileInfo(), eid=bytes(16))
    device.eim.package(ListProfileInfo(), eim_id="stranger")
    device.eim.package(ListProfileInfo())
    assert device.poll().ok
    assert ipa_parts.outcomes(device.eim) == [
        ("invalidEid",),
        ("unsigned error",),
        ("listProfileInfo ok",),
    ]
    assert device.quiet()


def test_each_eim_is_polled_and_none_holds_up_another(ipa_parts):
    eims = [ipa_parts.Eim(f"eim{number}.example.com") for number in range(3)]
    device = ipa_parts.Device(*eims)
    for eim in eims:
        eim.package(ListProfileInfo())
    eims[0].statuses["getEimPackage"] = [500]
    report = device.poll()
    assert list(report.errors) == ["eim0.example.com"]
    assert [len(eim.results) for eim in eims] == [0, 1, 1]
    with pytest.raises(AgentError, match=r"no eIM 'nobody' is associated.*eim0\.example\.com"):
        device.poll("nobody")


def test_an_eim_that_deletes_itself_gets_its_result(ipa_parts):
    one, other = ipa_parts.Eim(), ipa_parts.Eim("other.example.com")
    device = ipa_parts.Device(one, other)
    one.package(DeleteEim(one.eim_id))
    one.package(ListProfileInfo())
    assert device.poll().ok
    assert ipa_parts.outcomes(one) == [("deleteEim ok",)]
    assert not device.euicc.results
    assert [eim.eim_id for eim in device.run(device.ipa.eims())] == [other.eim_id]


def test_other_eims_are_told_of_a_change_once(ipa_parts):
    one, other = ipa_parts.Eim(), ipa_parts.Eim("other.example.com")
    device = ipa_parts.Device(one, other)
    one.package(Enable(ipa_parts.SECOND))
    device.poll()
    device.poll()
    told = [fields for function, fields in other.fields if function == "getEimPackage"]
    assert [fields.get("stateChangeCause") for fields in told] == [0, None]
    assert told[0]["notifyStateChange"] is True
    assert all("stateChangeCause" not in fields for function, fields in one.fields)


def test_a_cause_of_the_operator_is_told(ipa_parts):
    device = ipa_parts.Device()
    device.poll(cause=6)
    assert device.eim.fields[0][1]["stateChangeCause"] == 6


def test_a_card_that_breaks_after_the_package_keeps_the_result(ipa_parts):
    device = ipa_parts.Device()
    device.euicc.break_after = [0xBF51]
    device.eim.package(Enable(ipa_parts.SECOND))
    assert device.poll().ok
    assert device.euicc.executed == [(device.eim.eim_id, 2)]
    assert ipa_parts.outcomes(device.eim) == [("enable ok",)]


def test_a_card_that_refuses_packages_is_reported(ipa_parts):
    device = ipa_parts.Device()
    device.euicc.refuse[0xBF51] = 0x6A88
    device.eim.package(Disable(ipa_parts.FIRST))
    report = device.poll()
    assert "6A88" in str(report.errors[device.eim.eim_id])
    assert ipa_parts.outcomes(device.eim) == [("undefinedError",)]


def test_a_package_that_the_slots_owner_forbids(ipa_parts):
    device = ipa_parts.Device()
    load = device.euicc._load

    def forbidden(request):
        raise ProtectedError("an eUICC Package that deletes a profile, on a protected slot")

    device.euicc._load = forbidden
    device.eim.package(Delete(ipa_parts.SECOND))
    report = device.poll()
    assert isinstance(report.errors[device.eim.eim_id], ProtectedError)
    assert ipa_parts.outcomes(device.eim) == [("undefinedError",)]
    assert device.quiet()
    device.euicc._load = load
    device.eim.package(ListProfileInfo())
    assert device.poll().ok


@pytest.mark.parametrize(
    ("malformed", "code"),
    [(b"\xbf\x4f\x02\xbf\x70", "invalidPackageFormat"), (bytes.fromhex("BF4F03BF5500"), "unknownPackage")],
)
def test_malformed_packages_are_named(ipa_parts, malformed, code):
    device = ipa_parts.Device()
    device.eim.malformed["getEimPackage"] = malformed
    report = device.poll()
    assert "malformed answer to getEimPackage" in str(report.errors[device.eim.eim_id])
    assert [one.results for one in report.done] == [(code,)]


def test_an_eim_without_end_is_left_for_the_next_time(ipa_parts):
    device = ipa_parts.Device(most_packages=3)
    for _ in range(5):
        device.eim.package(ListProfileInfo())
    assert "more packages than 3" in str(device.poll().errors[device.eim.eim_id])
    assert device.poll().ok
    assert device.quiet()


def test_initial_eims_from_values_and_files(ipa_parts):
    device = ipa_parts.Device()
    configuration = device.eim.configuration
    with pytest.raises(AgentError, match="associatedEimAlreadyExists"):
        device.run(device.ipa.add_initial_eim([configuration]))
    der = configuration.encode()
    whole = ipa_parts.t(0xBF57, ipa_parts.t(0xA0, der))
    for source in ([configuration], [der], der, whole):
        device.euicc.eims.clear()
        device.euicc.tokens.clear()
        assert device.run(device.ipa.add_initial_eim(source)) == (100,)
    assert device.run(device.ipa.certificates()) == (ipa_parts.CERTIFICATE, ipa_parts.CERTIFICATE)
    with pytest.raises(AgentError, match="invalidCiPKId"):
        device.run(device.ipa.certificates(b"\x01" * 20))
