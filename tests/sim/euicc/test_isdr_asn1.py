"""What the eUICC writes by hand, the ASN.1 of SGP.22 reads: with the codec's requests, every answer decodes."""

import pytest

from esim_bench.codec import es10
from esim_bench.codec.es10_results import InstallResult
from esim_bench.codec.schema import RSP
from esim_bench.codec.tlv import parse


def response_type(tag):
    return es10.FUNCTIONS[tag].response_type


def ask(card, request):
    """Send a request of the codec and decode the answer; encoding it again gives the same bytes."""
    answer = card.es10(request).raw
    name = response_type(parse(request).tag)
    value = RSP.decode(name, answer)
    assert RSP.encode(name, value) == answer
    return value


REQUESTS = {
    "addresses": es10.get_euicc_configured_addresses(),
    "set address": es10.set_default_dp_address("dp.example.com"),
    "challenge": es10.get_euicc_challenge(),
    "info 1": es10.get_euicc_info1(),
    "info 2": es10.get_euicc_info2(),
    "rat": es10.get_rat(),
    "eid": es10.get_eid(),
    "profiles": es10.get_profiles_info(),
    "profiles by class": es10.get_profiles_info(2, bytes.fromhex("5A4F9F70909192939495B6B7B899")),
    "notifications": es10.list_notifications(),
    "notifications by event": es10.list_notifications(["enable", "disable"]),
    "remove": es10.remove_notification(200),
    "memory reset": es10.memory_reset(test=True),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_answers_decode_and_encode_to_the_same_bytes(kit, case):
    card = kit.with_profiles(1, 2)
    card.es10(es10.enable_profile(kit.iccid(1), refresh=False))
    ask(card, REQUESTS[case])


def test_management_of_one_profile(kit):
    card = kit.with_profiles(1)
    iccid = kit.iccid(1)
    (profile,) = es10.profile_infos(card.es10(es10.get_profiles_info()).raw)
    assert (profile.iccid, profile.enabled) == (iccid, False)
    steps = (
        (es10.set_nickname(iccid, "travel"), 0),
        (es10.enable_profile(iccid, refresh=True), 0),
        (es10.enable_profile(profile.isdp_aid, refresh=True), 2),
        (es10.delete_profile(iccid), 2),
        (es10.disable_profile(profile.isdp_aid, refresh=False), 0),
        (es10.delete_profile(profile.isdp_aid), 0),
        (es10.delete_profile(iccid), 1),
    )
    for request, code in steps:
        answer = card.es10(request).raw
        assert es10.result_code(answer)[0] == code
        RSP.decode(response_type(parse(request).tag), answer)
    listed = es10.notification_list(card.es10(es10.list_notifications()).raw)
    assert [one.seq for one in listed] == [1, 2, 3]
    pending = es10.pending_notifications(card.es10(es10.retrieve_notifications()).raw)
    assert [(one.seq, one.operation, one.iccid) for one in pending] == [
        (1, "enable", iccid),
        (2, "disable", iccid),
        (3, "delete", iccid),
    ]


def test_the_messages_of_a_download(kit, lpa):
    answer = lpa.authenticate()
    assert RSP.decode("AuthenticateServerResponse", answer.raw)[0] == "authenticateResponseOk"
    answer = lpa.card.es10(lpa.server.prepare_download(answer.get(0xA0, 0x5F37).raw))
    kind, value = RSP.decode("PrepareDownloadResponse", answer.raw)
    assert kind == "downloadResponseOk"
    assert RSP.encode("PrepareDownloadResponse", (kind, value)) == answer.raw
    result = lpa.download(kit.package(1), kit.metadata(1)).raw
    value = RSP.decode("ProfileInstallationResult", result)
    assert RSP.encode("ProfileInstallationResult", value) == result
    parsed = InstallResult.parse(result)
    assert parsed.success
    assert parsed.isdp_aid == lpa.card.profiles()[0].get(0x4F).value
    failed = InstallResult.parse(lpa.download(kit.package(1), kit.metadata(1)).raw)
    assert not failed.success
    assert failed.metadata.iccid == kit.iccid(1)


def test_euicc_info2_as_the_bench_reads_it(card):
    info = es10.EuiccInfo2.parse(card.es10(es10.get_euicc_info2()).raw)
    assert info.svn_text == "2.5.0"
    assert info.free_memory == card.uicc.free_memory
