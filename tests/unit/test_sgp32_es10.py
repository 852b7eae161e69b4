"""ES10b of SGP.32: requests and answers of every function, every code, both directions, versions and liberties."""

import pytest

from esim_bench.codec import es10_iot as requests
from esim_bench.codec import es10_iot_answers as answers
from esim_bench.codec import euicc_package as package
from esim_bench.codec import tlv
from esim_bench.codec.eim_configuration import GENERATE_TOKEN, EimConfigurationData, KeyData
from esim_bench.codec.es10_iot import IPAE_ACTIVATION, MEMORY_RESET_1_0, IotTag
from esim_bench.codec.euicc_operations import ConfigureImmediateEnable, Enable
from esim_bench.codec.euicc_results import OperationResult
from esim_bench.codec.notification_search import Search
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import CodecError

OLD, NEW = Version.V1_0_1, Version.V1_3
CERTIFICATE = bytes.fromhex("3008 3000 3000 03020001")
KEY = KeyData(bytes.fromhex("3006 3000 03020001"))
SIGNATURE = bytes(64)
EPR = package.signed_result(package.result_signed("a", 1, 2, [OperationResult("rollback")]), SIGNATURE)
NOTIFICATION = bytes.fromhex("3003 BF2F00")

KNOWN_REQUESTS = [
    (requests.get_eim_configuration_data(), "BF5500"),
    (requests.get_eim_configuration_data("a"), "BF5505 A003 800161"),
    (requests.get_certs(), "BF5600"),
    (requests.get_certs(b"\x01\x02"), "BF5604 80020102"),
    (requests.profile_rollback(True), "BF5803 8001FF"),
    (requests.profile_rollback(False), "BF5803 800100"),
    (requests.configure_immediate_profile_enabling(True), "BF5902 8000"),
    (requests.configure_immediate_profile_enabling(True, "2.999.10", "a"), "BF590A 8000 810388370A 820161"),
    (requests.immediate_enable(True), "BF5A03 8001FF"),
    (requests.immediate_enable(True, OLD), "BF5A00"),
    (requests.enable_emergency_profile(True), "BF5B03 8001FF"),
    (requests.disable_emergency_profile(True), "BF5C03 8001FF"),
    (requests.execute_fallback_mechanism(True), "BF5D03 8001FF"),
    (requests.return_from_fallback(True), "BF5E03 8001FF"),
    (requests.get_connectivity_parameters(), "BF5F00"),
    (requests.memory_reset(requests.RESET_OPTIONS), "BF6404 820201FE"),
    (requests.memory_reset(["resetEimConfigData"]), "BF6404 82020204"),
    (requests.memory_reset(["resetEimConfigData", "resetImmediateEnableConfig"], OLD), "BF3404 82020318"),
    (requests.set_default_dp_address("a.b"), "BF6505 8003612E62"),
    (requests.ipae_activation(), "BF4204 80020780"),
    (requests.retrieve_notifications(), "BF2B00"),
    (requests.retrieve_notifications(seq=128), "BF2B06 A004 80020080"),
    (requests.retrieve_notifications(events=["enable"]), "BF2B06 A004 81020640"),
    (requests.retrieve_notifications(package_results=True), "BF2B04 A002 8200"),
]


@pytest.mark.parametrize(("made", "known"), KNOWN_REQUESTS, ids=[known[:12] for _, known in KNOWN_REQUESTS])
def test_requests_are_byte_for_byte_as_known(made: bytes, known: str) -> None:
    assert made == bytes.fromhex(known)


def test_an_eim_is_associated_with_an_empty_euicc() -> None:
    eim = EimConfigurationData("a", "b", counter=1, association_token=GENERATE_TOKEN, public_key=KEY)
    request = requests.add_initial_eim([eim, eim.encode()])
    entry = bytes.fromhex("3016 800161 810162 830101 8401FF A508 A006 3000 03020001")
    assert request == bytes.fromhex("BF5732 A030") + entry + entry
    assert requests.initial_eims(request) == (eim, eim)
    assert answers.added_eims([5, None]).hex() == "bf5707a0058401050500"
    assert answers.added_eims_of(answers.added_eims([128, None])) == (128, None)
    with pytest.raises(CodecError, match="expected 30, found none"):
        requests.initial_eims(bytes.fromhex("BF5702A000"))


def test_the_euicc_reads_the_requests() -> None:
    assert requests.searched_eim(requests.get_eim_configuration_data("a")) == "a"
    assert requests.searched_eim(requests.get_eim_configuration_data()) is None
    assert requests.certs_ci_pk_id(requests.get_certs(bytes(20))) == bytes(20)
    assert requests.certs_ci_pk_id(requests.get_certs()) is None
    read = requests.immediate_enabling(requests.configure_immediate_profile_enabling(True, "2.999.10", "a"))
    assert read == ConfigureImmediateEnable(True, "2.999.10", "a")
    assert requests.default_dp_address(requests.set_default_dp_address("")) == ""
    assert requests.activates_ipae(requests.ipae_activation())
    assert not requests.activates_ipae(bytes.fromhex("BF4203800100"))
    assert requests.reset_options(requests.memory_reset(requests.RESET_OPTIONS)) == requests.RESET_OPTIONS
    assert requests.reset_options(requests.memory_reset(requests.RESET_OPTIONS_1_0, OLD)) == requests.RESET_OPTIONS_1_0
    assert requests.searched_notifications(requests.retrieve_notifications(seq=3)) == Search(seq=3)
    events = requests.retrieve_notifications(events=["install", "delete"])
    assert requests.searched_notifications(events) == Search(events=("install", "delete"))
    assert requests.searched_notifications(requests.retrieve_notifications()) == Search()
    results = requests.retrieve_notifications(package_results=True)
    assert requests.searched_notifications(results).package_results


@pytest.mark.parametrize("request_bytes", ["BF58030101FF", "BF58038001FF", "BF5803800101", "BF5A00"])
def test_a_refresh_is_asked_for_in_several_ways(request_bytes: str) -> None:
    assert requests.refresh_flag(bytes.fromhex(request_bytes))


@pytest.mark.parametrize("request_bytes", ["BF5803010100", "BF5803800100"])
def test_no_refresh(request_bytes: str) -> None:
    assert not requests.refresh_flag(bytes.fromhex(request_bytes))


def test_one_ipa_sends_the_key_identifier_as_octet_string() -> None:
    assert requests.certs_ci_pk_id(bytes.fromhex("BF560404020102")) == b"\x01\x02"


def test_functions_that_version_1_0_does_not_have() -> None:
    for build in (
        requests.enable_emergency_profile,
        requests.disable_emergency_profile,
        requests.execute_fallback_mechanism,
        requests.return_from_fallback,
    ):
        with pytest.raises(CodecError, match=r"does not exist in this version: found v1\.0\.1"):
            build(True, OLD)
    with pytest.raises(CodecError, match=r"v1\.0\.1"):
        requests.get_connectivity_parameters(OLD)
    with pytest.raises(CodecError, match=r"v1\.0\.1"):
        requests.set_default_dp_address("a", OLD)
    with pytest.raises(CodecError, match=r"expected v1\.1, found 1\.0\.1"):
        requests.get_eim_configuration_data("a", OLD)
    with pytest.raises(CodecError, match="no such bit"):
        requests.memory_reset(["deleteProvisioningProfiles"], OLD)
    assert requests.codes(IotTag.ENABLE_EMERGENCY_PROFILE, OLD) == {}
    assert requests.codes(MEMORY_RESET_1_0) == {}


CODES = [
    (tag, version, code)
    for tag in (*answers.WITH_CODE_ALONE, *answers.WITH_ERROR)
    for version in Version
    for code in requests.codes(tag, version)
]


@pytest.mark.parametrize(("tag", "version", "code"), CODES)
def test_every_code_of_every_answer(tag: int, version: Version, code: int) -> None:
    alone = tag in answers.WITH_CODE_ALONE
    response = (answers.answer if alone else answers.failure)(tag, code, version)
    assert response == bytes.fromhex(f"{tag:X}03 {'80' if alone else '81'}01 {code:02X}")
    read, name = answers.result_code(response)
    assert read == code
    if version == Version.V1_2:
        assert name == requests.codes(tag)[code]


def test_codes_of_other_versions() -> None:
    assert requests.codes(IotTag.ADD_INITIAL_EIM, OLD)[2] == "unsignedEimConfigDisallowed"
    assert requests.codes(IotTag.IMMEDIATE_ENABLE, OLD)[1] == "autoEnableNotAvailable"
    assert requests.codes(IotTag.DISABLE_EMERGENCY_PROFILE, NEW)[8] == "ecallNotAvailable"
    for tag, code, version in (
        (IotTag.DISABLE_EMERGENCY_PROFILE, 8, Version.V1_2),
        (IotTag.IMMEDIATE_ENABLE, 5, OLD),
        (IPAE_ACTIVATION, 127, Version.V1_2),
    ):
        with pytest.raises(CodecError, match="result code"):
            answers.answer(tag, code, version)
    with pytest.raises(CodecError, match="result code"):
        answers.failure(IotTag.ADD_INITIAL_EIM, 7, OLD)


def test_errors_are_raised_by_name() -> None:
    with pytest.raises(answers.IotError, match=r"GetCerts failed: found invalidCiPKId \(1\)"):
        answers.certificates_of(answers.failure(IotTag.GET_CERTS, 1))
    with pytest.raises(answers.IotError, match="associatedEimAlreadyExists"):
        answers.added_eims_of(answers.failure(IotTag.ADD_INITIAL_EIM, 2))
    with pytest.raises(answers.IotError, match="parametersNotAvailable"):
        answers.connectivity_parameters_of(answers.failure(IotTag.GET_CONNECTIVITY_PARAMETERS, 1))
    with pytest.raises(answers.IotError, match="undefinedError"):
        answers.retrieved(answers.retrieve_failure())


def test_eim_configurations_do_not_tell_the_counter() -> None:
    eim = EimConfigurationData("a", counter=7, association_token=5)
    response = answers.eim_configurations([eim])
    assert response.hex() == "bf550aa0083006800161840105"
    assert answers.eim_configurations_of(response) == (EimConfigurationData("a", association_token=5),)
    assert answers.eim_configurations_of(bytes.fromhex("BF5502A000")) == ()


def test_certificates() -> None:
    response = answers.certificates(CERTIFICATE, CERTIFICATE)
    assert response == bytes.fromhex("BF5616 A014 A508 3000 3000 03020001 A608 3000 3000 03020001")
    assert answers.certificates_of(response) == (CERTIFICATE, CERTIFICATE)


def test_connectivity_parameters() -> None:
    assert answers.connectivity_parameters(b"\x01").hex() == "bf5f05a003810101"
    for http in (None, b"", b"\x01\x02"):
        assert answers.connectivity_parameters_of(answers.connectivity_parameters(http)) == http


@pytest.mark.parametrize("code", requests.codes(IotTag.PROFILE_ROLLBACK))
def test_rollback(code: int) -> None:
    result = answers.RollbackResult(code, EPR if code == 0 else None)
    assert result.encode() == tlv.encode(0xBF58, bytes((2, 1, code)), result.package_result or b"")
    assert answers.RollbackResult.parse(result.encode()) == result
    assert answers.result_code(result.encode()) == (code, result.name)
    with pytest.raises(CodecError, match="result code"):
        answers.RollbackResult(2).encode()


@pytest.mark.parametrize("version", [OLD, Version.V1_2])
def test_memory_reset(version: Version) -> None:
    tag = MEMORY_RESET_1_0 if version == OLD else IotTag.EUICC_MEMORY_RESET
    for code in requests.codes(tag, version):
        for eim in (None, *requests.RESET_EIM_RESULTS):
            for immediate in (None, *requests.RESET_IMMEDIATE_ENABLE_RESULTS):
                result = answers.MemoryResetResult(code, eim, immediate)
                assert answers.MemoryResetResult.parse(result.encode(version)) == result
    result = answers.MemoryResetResult(0, 1, 1)
    assert result.encode(version).hex() == ("bf3409020100" if version == OLD else "bf6409800100") + "810101820101"
    assert answers.MemoryResetResult.parse(bytes.fromhex("BF3403800100")).name == "ok"
    with pytest.raises(CodecError, match="result code"):
        answers.MemoryResetResult(104).encode(OLD)


def test_notifications_and_package_results_are_retrieved() -> None:
    both = answers.Retrieved((NOTIFICATION,), (EPR,))
    assert answers.retrieved(answers.retrieved_notifications([NOTIFICATION])).notifications == (NOTIFICATION,)
    assert answers.retrieved_notifications([NOTIFICATION]).hex() == "bf2b07a0053003bf2f00"
    assert answers.retrieved(answers.retrieved_package_results([EPR, EPR])).package_results == (EPR, EPR)
    assert tlv.parse(answers.retrieved_package_results([])).value == bytes.fromhex("A200")
    assert answers.retrieved(answers.retrieved_both(both)) == both
    assert tlv.parse(answers.retrieved_both(both)).children()[0].tag == 0xA3
    with pytest.raises(CodecError, match="expected BF51, found 30"):
        answers.retrieved(answers.retrieved_package_results([NOTIFICATION]))


def test_one_line_for_people() -> None:
    signed = package.package_signed("eim1", bytes(16), 9, [Enable(bytes(10))])
    load = package.package_request(signed, SIGNATURE)
    assert answers.describe(load, EPR) == "ES10b.LoadEuiccPackage 9 of eim1: enable -> rollback ok"
    error = package.signed_error(package.error_signed("a", 1, 4), SIGNATURE)
    assert answers.describe(load, error).endswith("-> replayError")
    assert answers.describe(requests.get_certs(), answers.failure(IotTag.GET_CERTS, 1)) == (
        "ES10b.GetCerts -> invalidCiPKId"
    )
    assert answers.describe(requests.get_certs(), answers.certificates(CERTIFICATE, CERTIFICATE)) == (
        "ES10b.GetCerts -> ok"
    )
    assert answers.describe(requests.profile_rollback(True), None) == "ES10b.ProfileRollback"
    assert answers.describe(requests.profile_rollback(True), b"\x00") == "ES10b.ProfileRollback -> 1 bytes"
    assert answers.describe(requests.retrieve_notifications(), answers.retrieved_package_results([EPR])) == (
        "ES10b.RetrieveNotificationsList -> 0 notifications, 1 package results"
    )
    eims = answers.eim_configurations([EimConfigurationData("eim1")])
    assert answers.describe(requests.get_eim_configuration_data(), eims) == "ES10b.GetEimConfigurationData -> eim1"
    reset = requests.memory_reset(["resetEimConfigData"], OLD)
    assert answers.describe(reset, answers.MemoryResetResult(1).encode(OLD)) == (
        "ES10b.eUICCMemoryReset -> nothingToDelete"
    )
    assert answers.describe(requests.ipae_activation(), answers.answer(IPAE_ACTIVATION, 1)) == (
        "ES10b.IpaeActivation -> notSupported"
    )
    assert answers.describe(b"", None) == "STORE DATA "
