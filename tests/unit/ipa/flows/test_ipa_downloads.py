"""Triggered downloads: direct, indirect, refused, and what each eIM and SM-DP+ hears of them."""

import pytest

from esim_bench.codec import tlv
from esim_bench.codec.download_trigger import ProfileDownloadTriggerResult
from esim_bench.codec.es10_results import InstallResult

CODE = "LPA:1$dp.example.com$SECRET-ID"
DIRECT = ("directRsp",)
INDIRECT = ("indirectRsp",)


def installed(raw):
    result = ProfileDownloadTriggerResult.parse(raw)
    return InstallResult.parse(result.install_result)


def test_a_direct_download_by_activation_code(ipa_parts):
    device = ipa_parts.Device(features=DIRECT)
    device.eim.trigger(activation_code=CODE)
    report = device.poll()
    assert report.ok, report.errors
    assert [(one.kind, one.results) for one in report.done] == [("download", ("ok",))]
    result = ProfileDownloadTriggerResult.parse(device.eim.results[0])
    assert result.transaction_id == report.done[0].transaction_id
    # The SM-DP+ got the very same result, from the IPA itself.
    assert device.smdp.notified == [result.install_result]
    assert b"\x80\x09SECRET-ID" in device.euicc.context
    assert device.quiet()


def test_the_default_smdp(ipa_parts):
    device = ipa_parts.Device(features=DIRECT)
    device.eim.trigger(default_smdp=True)
    device.poll()
    assert ipa_parts.outcomes(device.eim) == [("ok",)]
    device.euicc.default_address = ""
    device.eim.trigger(default_smdp=True)
    report = device.poll()
    assert ipa_parts.outcomes(device.eim)[1] == ("undefinedError",)
    assert "no default SM-DP+ address" in report.done[0].results[1]


@pytest.mark.parametrize("features", [DIRECT, INDIRECT])
def test_an_sm_ds_is_not_there(ipa_parts, features):
    device = ipa_parts.Device(features=features)
    device.eim.trigger(smds=True)
    report = device.poll()
    assert report.done[0].results == ("undefinedError", "smdsNotSupported")
    assert device.eim.results == [bytes.fromhex("BF54098202B000300380017F")]
    assert device.quiet()


def test_an_indirect_download_without_data(ipa_parts):
    device = ipa_parts.Device(features=(*INDIRECT, "eimDownloadDataHandling"))

    def edit(function, answer):
        if function == "initiateAuthentication":
            answer["matchingId"] = "FROM-EIM"
            del answer["transactionId"]

    device.eim.edit = edit
    device.eim.trigger()
    report = device.poll()
    assert report.ok, report.errors
    fields = dict(device.eim.relayed)["initiateAuthentication"]
    assert "smdpAddress" not in fields
    assert fields["eimTransactionId"] == report.done[0].transaction_id
    assert b"\x80\x08FROM-EIM" in device.euicc.context
    assert installed(device.eim.results[0]).success
    # Nothing but the eIM was spoken to; it also got the notification for the SM-DP+.
    assert device.smdp.functions == []
    assert device.eim.notified == [ProfileDownloadTriggerResult.parse(device.eim.results[0]).install_result]
    assert device.quiet()


@pytest.mark.parametrize(
    ("features", "address"),
    [(INDIRECT, "dp.example.com"), ((*INDIRECT, "eimDownloadDataHandling"), None)],
)
def test_an_activation_code_is_executed_indirectly_by_an_ipa_that_cannot_else(ipa_parts, features, address):
    device = ipa_parts.Device(features=features)
    device.eim.trigger(activation_code=CODE)
    assert device.poll().ok
    fields = dict(device.eim.relayed)["initiateAuthentication"]
    assert fields.get("smdpAddress") == address
    assert installed(device.eim.results[0]).success
    assert device.quiet()


def test_an_eim_that_wants_indirect_downloads_gets_them(ipa_parts):
    from dataclasses import replace

    device = ipa_parts.Device(features=(*DIRECT, *INDIRECT))
    eim_id = device.eim.eim_id
    device.euicc.eims[eim_id] = replace(device.euicc.eims[eim_id], indirect_download=True)
    device.eim.trigger(activation_code=CODE)
    assert device.poll().ok
    assert device.smdp.functions == []
    assert "initiateAuthentication" in device.eim.requests


def test_hash_cc_of_the_eim_goes_to_the_euicc(ipa_parts):
    device = ipa_parts.Device(features=INDIRECT)
    device.eim.sessions.cc = True

    def edit(function, answer):
        if function == "authenticateClient":
            answer["hashCc"] = b"\x07" * 32

    device.eim.edit = edit
    device.eim.trigger()
    assert device.poll().ok
    assert device.euicc.hash_cc.value == b"\x07" * 32
    assert installed(device.eim.results[0]).success


def test_without_a_confirmation_code_the_download_is_postponed(ipa_parts):
    device = ipa_parts.Device(features=DIRECT)
    device.smdp.cc = True
    device.eim.trigger(activation_code=CODE)
    report = device.poll()
    assert report.done[0].results == ("undefinedError", "confirmationCodeMissing")
    assert device.euicc.cancelled == 1


def test_metadata_is_left_to_an_eim_where_the_ipa_says_so(ipa_parts):
    def edit(function, answer):
        answer.pop("profileMetadata", None)

    for features, outcome in (
        ((*INDIRECT, "eimProfileMetadataVerification"), ("ok",)),
        (INDIRECT, ("undefinedError",)),
    ):
        device = ipa_parts.Device(features=features)
        device.eim.edit = edit
        device.eim.trigger()
        device.poll()
        assert ipa_parts.outcomes(device.eim) == [outcome]


def test_ctx_params1_of_the_eim(ipa_parts):
    context = ipa_parts.t(0xA0, ipa_parts.t(0x80, b"EIM"), ipa_parts.t(0xA1, tlv.parse(ipa_parts.DEVICE).value))

    def edit(function, answer):
        if function == "initiateAuthentication":
            answer["ctxParams1"] = context

    for features, outcome in (((*INDIRECT, "eimCtxParams1Generation"), ("ok",)), (INDIRECT, ("undefinedError",))):
        device = ipa_parts.Device(features=features)
        device.eim.edit = edit
        device.eim.trigger()
        device.poll()
        assert ipa_parts.outcomes(device.eim) == [outcome]
        assert getattr(device.euicc, "context", context) == context


@pytest.mark.parametrize("refuses", [False, True])
def test_compact_forms_and_whole_ones_where_they_are_refused(ipa_parts, refuses):
    device = ipa_parts.Device(features=(*INDIRECT, "minimizeEsipaBytes"))
    device.eim.refuse_compact = refuses
    for _ in range(2):
        device.eim.trigger()
        assert device.poll().ok
        device.euicc.profiles.pop(ipa_parts.NEW)
    first, second = [f for f in device.eim.fields if f[0] == "authenticateClient"][:: 2 if refuses else 1][:2]
    arms = [tlv.parse(one[1]["authenticateServerResponse"]).children()[0].tag for one in (first, second)]
    assert arms == ([0xA2, 0xA0] if refuses else [0xA2, 0xA2])
    # After a refusal nothing compact is tried again: one call more than the two that are needed.
    calls = [function for function, _ in device.eim.fields].count("authenticateClient")
    assert calls == (3 if refuses else 2)
    # The notification of a session of its own is compact as well.
    assert [raw[0] for raw in device.eim.notified] == [0xA0, 0xA0]
    assert ipa_parts.outcomes(device.eim) == [("ok",), ("ok",)]
    assert device.quiet()


def test_an_answer_of_another_transaction_ends_the_session(ipa_parts):
    device = ipa_parts.Device(features=INDIRECT)

    def edit(function, answer):
        if function == "getBoundProfilePackage":
            answer["transactionId"] = b"\x99" * 16

    device.eim.edit = edit
    device.eim.trigger()
    report = device.poll()
    assert "transaction id in getBoundProfilePackage" in report.done[0].results[1]
    assert device.euicc.cancelled == 127
    assert device.euicc.downloads == 0
    assert "cancelSession" in device.eim.requests


def test_another_address_than_the_one_asked_for(ipa_parts):
    device = ipa_parts.Device(features=INDIRECT)
    device.eim.sessions.address = "evil.example.com"
    device.eim.trigger(activation_code=CODE)
    report = device.poll()
    assert "server address in serverSigned1" in report.done[0].results[1]


def test_a_refusal_of_the_smdp_is_reported_without_secrets(ipa_parts):
    device = ipa_parts.Device(features=DIRECT)
    device.smdp.refuse["authenticateClient"] = ("8.2.6", "3.8")
    device.eim.trigger(activation_code=CODE)
    report = device.poll()
    assert ipa_parts.outcomes(device.eim) == [("undefinedError",)]
    assert report.done[0].results[1].startswith("8.2.6/3.8")
    assert "SECRET" not in repr(report)


@pytest.mark.parametrize("version", ["1.2", "1.0.1"])
def test_an_error_of_the_euicc_is_in_the_result(ipa_parts, version):
    from esim_bench.codec.sgp32 import Version

    known = Version.from_text(version)
    device = ipa_parts.Device(ipa_parts.Eim(version=known), features=DIRECT)
    refusal = ipa_parts.t(0xBF38, ipa_parts.t(0xA1, ipa_parts.t(0x80, b"\x01"), ipa_parts.t(0x02, b"\x06")))
    answer = device.euicc._download
    device.euicc._download = lambda tag, request: refusal if tag == 0xBF38 else answer(tag, request)
    device.eim.trigger(activation_code=CODE)
    report = device.poll()
    result = ProfileDownloadTriggerResult.parse(device.eim.results[0], known)
    assert result.error_response == refusal
    assert report.done[0].results[-1] == "euiccChallengeMismatch"


def test_a_failed_installation_is_told_by_the_euicc(ipa_parts):
    device = ipa_parts.Device(features=DIRECT)
    device.euicc.install_error = 9
    device.eim.trigger(activation_code=CODE)
    assert device.poll().ok
    result = installed(device.eim.results[0])
    assert (result.success, result.reason) == (False, "installFailedDueToIccidAlreadyExistsOnEuicc")
    assert device.smdp.notified == [result.raw]
    assert device.quiet()


def test_a_broken_way_is_tried_again_after_a_while(ipa_parts):
    device = ipa_parts.Device(features=DIRECT)
    device.eim.trigger(activation_code=CODE)
    # GetEimPackage goes through, then the SM-DP+ is away twice.
    device.failures = [None, "broken", "broken"]
    report = device.poll()
    assert report.done[0].results == ("ok",)
    assert device.slept == pytest.approx(2 + 4)


def test_an_smdp_that_stays_away(ipa_parts):
    device = ipa_parts.Device(features=DIRECT)
    device.eim.trigger(activation_code=CODE)
    device.failures = [None, "broken", "broken", "broken"]
    assert device.poll().done[0].results == ("undefinedError", "connection broke")
    assert device.quiet()


def test_no_trigger_for_an_ipa_that_downloads_nothing(ipa_parts):
    device = ipa_parts.Device(features=("eimDownloadDataHandling",))
    device.eim.trigger(activation_code=CODE)
    device.eim.trigger()
    assert [one.results[1] for one in device.poll().done] == ["downloadNotSupported", "indirectNotSupported"]


def test_an_activation_code_that_is_none(ipa_parts):
    device = ipa_parts.Device(features=DIRECT)
    device.eim.trigger(activation_code="SECRET-NONSENSE")
    report = device.poll()
    assert ipa_parts.outcomes(device.eim) == [("undefinedError",)]
    assert "SECRET" not in repr(report)


def test_immediate_enable_after_a_download(ipa_parts):
    device = ipa_parts.Device(features=DIRECT, immediate_enable=True)
    device.run(device.ipa.configure_immediate_enable(True))
    device.eim.trigger(activation_code=CODE)
    report = device.poll()
    assert report.kinds() == ["immediateEnable", "download"]
    assert device.euicc.shown == ipa_parts.NEW
    # The eIM hears of the switch with the next request.
    causes = [fields.get("stateChangeCause") for name, fields in device.eim.fields if name == "getEimPackage"]
    assert causes == [None, 5]
    assert device.quiet()


def test_immediate_enable_that_is_not_configured(ipa_parts):
    device = ipa_parts.Device(features=DIRECT, immediate_enable=True)
    device.eim.trigger(activation_code=CODE)
    report = device.poll()
    assert report.done[0].results == ("immediateEnableNotAvailable",)
    assert device.euicc.shown == ipa_parts.FIRST
    assert device.quiet()


def test_an_unreadable_trigger(ipa_parts):
    device = ipa_parts.Device()
    device.eim.raw("profileDownloadTriggerRequest", bytes.fromhex("BF5404A0028500"))
    assert [one.results for one in device.poll().done] == [("invalidPackageFormat",)]
