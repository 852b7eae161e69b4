"""What an eIM may ask of the eUICC and of the IPA, tag by tag."""

import pytest

from esim_bench.codec.euicc_operations import ListProfileInfo
from esim_bench.codec.ipa_data import IpaEuiccData, IpaEuiccDataError, parse_response
from esim_bench.codec.notification_search import Search
from esim_bench.codec.sgp32 import Version

ALL = (0xA0, 0x81, 0xA2, 0xBF20, 0xBF22, 0x83, 0x84, 0xA5, 0xA6, 0x87, 0xA8, 0xA9)
ALL_1_0 = (0x80, 0xBF20, 0xBF22, 0x83, 0x84, 0xA5, 0xA6, 0xA8, 0xA9, 0xBF2B)


def answered(device):
    return parse_response(device.eim.received[-1])


def test_everything_at_once(ipa_parts):
    device = ipa_parts.Device(features=("indirectRsp", "minimizeEsipaBytes"))
    device.euicc.notify(0x40, ipa_parts.FIRST)
    (whole,) = device.euicc.notifications.values()
    device.eim.data(*ALL)
    assert device.poll().ok
    data = answered(device)
    assert isinstance(data, IpaEuiccData)
    assert list(data.notifications) == [whole]
    assert data.package_results == ()
    assert data.default_smdp_address == ipa_parts.SMDP
    assert data.root_smds_address == "ds.example.com"
    assert data.association_token == 100
    assert (data.eum_certificate, data.euicc_certificate) == (ipa_parts.CERTIFICATE, ipa_parts.CERTIFICATE)
    assert data.transaction_id == b"\xd0\x00"
    assert data.capabilities.features == ("indirectRspServerCommunication", "minimizeEsipaBytes")
    assert data.capabilities.protocols == ("ipaRetrieveHttps",)
    assert data.device_info == ipa_parts.DEVICE
    assert data.euicc_info1[:2] == b"\xbf\x20"
    assert data.euicc_info2[:2] == b"\xbf\x22"


def test_everything_of_version_1_0(ipa_parts):
    device = ipa_parts.Device(ipa_parts.Eim(version=Version.V1_0_1), features=("directRsp",))
    device.euicc.notify(0x40, ipa_parts.FIRST)
    device.eim.data(*ALL_1_0)
    assert device.poll().ok
    data = answered(device)
    assert data.default_smdp_address == ipa_parts.SMDP
    assert len(data.notifications) == 1
    assert data.device_info == ipa_parts.DEVICE


@pytest.mark.parametrize("tag", ALL)
def test_only_what_was_asked_for(ipa_parts, tag):
    device = ipa_parts.Device()
    device.eim.data(tag)
    assert device.poll().ok
    data = answered(device)
    given = {name for name in IpaEuiccData.__slots__ if getattr(data, name) is not None} - {"transaction_id"}
    from esim_bench.codec.ipa_data import TAGS

    names = {"euiccPackageResultList": "package_results", "notificationsList": "notifications"}
    snake = "".join("_" + c.lower() if c.isupper() else c for c in TAGS[tag])
    snake = names.get(TAGS[tag], snake).replace("ipa_capabilities", "capabilities")
    assert given == ({snake} - {"eim_transaction_id"})


@pytest.mark.parametrize("tag", [0x5A, 0xBF2D, 0x80])
def test_tags_that_cannot_be_asked_for(ipa_parts, tag):
    device = ipa_parts.Device()
    device.eim.data(0xBF20, tag)
    device.poll()
    assert answered(device) == IpaEuiccDataError(1, b"\xd0\x00")


def test_the_certificates_of_a_ci(ipa_parts):
    device = ipa_parts.Device()
    # Shortened identifiers are completed before the eUICC sees them.
    device.eim.data(0xA5, 0xA6, ci_pk_id=ipa_parts.CI[:4])
    device.eim.data(0xA5, 0xA6, ci_pk_id=b"\x01\x02")
    device.poll()
    first, second = map(parse_response, device.eim.received)
    assert first.eum_certificate == ipa_parts.CERTIFICATE
    assert second == IpaEuiccDataError(5, b"\xd0\x01")


def test_lists_that_were_given_are_removed_when_acknowledged(ipa_parts):
    device = ipa_parts.Device()
    device.eim.acknowledges = False
    device.eim.package(ListProfileInfo())
    device.poll()
    (seq,) = device.euicc.results
    device.eim.acknowledges = True
    device.eim.acknowledge_too = (seq,)
    device.ipa._look_again = False
    device.eim.data(0xA2, package_results_seq=seq)
    assert device.poll().ok
    assert len(answered(device).package_results) == 1
    assert device.quiet()


def test_results_of_another_eim_are_not_shown(ipa_parts):
    one, other = ipa_parts.Eim(), ipa_parts.Eim("other.example.com")
    device = ipa_parts.Device(one, other)
    other.acknowledges = False
    other.package(ListProfileInfo())
    device.poll()
    one.data(0xA2)
    device.poll()
    assert parse_response(one.received[-1]).package_results == ()


def test_notifications_by_event(ipa_parts):
    device = ipa_parts.Device()
    device.euicc.notify(0x40, ipa_parts.FIRST)
    device.eim.data(0xA0, notifications=Search(seq=99))
    device.poll()
    assert answered(device).notifications == ()


def test_during_an_emergency_call_there_is_no_data(ipa_parts):
    device = ipa_parts.Device()
    device.euicc.emergency_profile = ipa_parts.SECOND
    assert device.run(device.ipa.emergency(True)) == "ok"
    device.eim.data(0xBF20)
    device.eim.trigger(activation_code="LPA:1$dp.example.com$A")
    device.eim.package(ListProfileInfo())
    report = device.poll()
    assert [one.results[0] for one in report.done if one.kind != "notification"] == ["ecallActive"] * 3
    assert device.eim.fields[0][1]["stateChangeCause"] == 2
    assert device.run(device.ipa.emergency(False)) == "ok"
    device.eim.data(0xBF20)
    assert device.poll().done[0].results == ("ok",)
    assert device.euicc.shown == ipa_parts.FIRST


def test_an_unreadable_request(ipa_parts):
    device = ipa_parts.Device()
    device.eim.raw("ipaEuiccDataRequest", bytes.fromhex("BF52025B00"))
    assert [one.results for one in device.poll().done] == [("invalidPackageFormat",)]


def test_a_card_that_does_not_tell(ipa_parts):
    device = ipa_parts.Device()
    device.euicc.refuse[0xBF22] = 0x6F00
    device.eim.data(0xBF22)
    report = device.poll()
    assert "6F00" in str(report.errors[device.eim.eim_id])
    assert answered(device) == IpaEuiccDataError(127, b"\xd0\x00")
