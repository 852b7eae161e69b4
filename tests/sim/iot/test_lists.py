"""What waits in an IoT eUICC: notifications and package results, each way to look for them, and their removal."""

import pytest

from esim_bench.codec import es10_iot, es10_iot_answers
from esim_bench.codec.euicc_operations import Enable, ListEim


def found(card, request):
    answer = es10_iot_answers.retrieved(card.es10(request).raw)
    return len(answer.notifications), len(answer.package_results)


@pytest.fixture
def busy(iot):
    """Two notifications, 0 disable and 1 enable, and two results, 2 and 3."""
    card, eim = iot.associated(1, 2, enabled=1)
    card.load(eim.package(Enable(iot.iccid(2))))
    card.load(eim.package(ListEim()))
    return card


def test_notifications_and_results_are_found_by_every_criterion(busy):
    assert found(busy, es10_iot.retrieve_notifications()) == (2, 0)
    assert found(busy, es10_iot.retrieve_notifications(package_results=True)) == (0, 2)
    assert found(busy, es10_iot.retrieve_notifications(seq=1)) == (1, 0)
    assert found(busy, es10_iot.retrieve_notifications(seq=3)) == (0, 1)
    assert found(busy, es10_iot.retrieve_notifications(events=["enable"])) == (1, 0)
    assert found(busy, es10_iot.retrieve_notifications(events=["enable", "disable"])) == (2, 0)
    assert found(busy, es10_iot.retrieve_notifications(events=["install"])) == (0, 0)
    assert busy.es10(es10_iot.retrieve_notifications(seq=9)).raw == bytes.fromhex("BF2B02A000")


def test_no_results_are_an_empty_list_of_them(iot):
    assert iot.card().es10("BF2B04A0028200").raw == bytes.fromhex("BF2B02A200")


def test_list_notification_knows_nothing_of_results(busy):
    assert len(busy.es10("BF2800").get(0xA0).children()) == 2


def test_both_kinds_are_removed_by_their_number(busy):
    for number, code in ((0, 0), (2, 0), (2, 1), (0, 1), (9, 1)):
        assert busy.es10(f"BF30038001{number:02X}").get(0x80).integer() == code
    assert [number for number, _ in busy.notifications()] == [1]
    assert [one.seq for one in busy.results()] == [3]


def test_version_1_0_1_gives_both_kinds_in_one_answer(iot):
    card, eim = iot.associated(1, standards=iot.standards[1])
    card.load(eim.package(Enable(iot.iccid(1))))
    assert card.es10("BF2B00").children()[0].tag == 0xA3
    assert found(card, es10_iot.retrieve_notifications()) == (1, 1)
    assert found(card, es10_iot.retrieve_notifications(package_results=True)) == (0, 1)
    assert found(card, es10_iot.retrieve_notifications(events=["enable"])) == (1, 0)


def test_an_lpa_sees_notifications_only(iot):
    card, eim = iot.associated(1, standards=iot.standards[2])
    card.load(eim.package(Enable(iot.iccid(1))))
    assert card.es10("BF2B00").children()[0].tag == 0xA0


def test_criteria_that_are_none_end_in_undefined_error(iot):
    card = iot.card()
    for request in ("BF2B04A0028300", "BF2B05A003820100", "BF2B03A00180", "BF2B06A00480000000"):
        assert card.es10(request).get(0x81).integer() == 127


def test_the_certificates_are_those_of_a_ci(iot):
    card = iot.card()
    own = card.identity.signing[0]
    for ci in (None, own.ci_key_id, own.ci_key_id[:4]):
        answer = es10_iot_answers.certificates_of(card.es10(es10_iot.get_certs(ci)).raw)
        assert answer == (own.eum_certificate, own.euicc_certificate)
    assert card.es10(es10_iot.get_certs(bytes(20))).get(0x81).integer() == 1


def test_connectivity_parameters_belong_to_the_enabled_profile(iot):
    makes = iot.personality(connectivity_parameters=b"\x01\x02")
    answer = iot.card(1, enabled=1, personality=makes).es10("BF5F00").raw
    assert es10_iot_answers.connectivity_parameters_of(answer) == b"\x01\x02"
    for card in (iot.card(1, personality=makes), iot.card(1, enabled=1)):
        assert card.es10("BF5F00").get(0x81).integer() == 1
