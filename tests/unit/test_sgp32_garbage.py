"""Every decoder of SGP.32's objects against spoiled bytes: it decodes, or raises an error of the bench's tree."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esim_bench.codec import compact, es10, es10_iot, es10_iot_answers, esipa, esipa_json, iot_info, ipa_data, tlv
from esim_bench.codec import esipa_objects as objects
from esim_bench.codec import euicc_package as package
from esim_bench.codec.download_trigger import ProfileDownloadTrigger, ProfileDownloadTriggerResult
from esim_bench.codec.eim_configuration import EimConfigurationData, KeyData
from esim_bench.codec.euicc_operations import AddEim, ConfigureImmediateEnable, Enable, ListProfileInfo, UpdateEim
from esim_bench.codec.euicc_results import OperationResult
from esim_bench.codec.notification_search import Search
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import CodecError

ICCID = bytes.fromhex("98001032547698103214")
KEY = KeyData(bytes.fromhex("3006 3000 03020001"))
CERTIFICATE = bytes.fromhex("3008 3000 3000 03020001")
EIM = EimConfigurationData("a", "b", 1, 2, 3, KEY, KeyData(CERTIFICATE, True), ("eimRetrieveHttps",), b"\x01", True)
SIGNATURE = bytes(64)
REFUSALS = (CodecError, esipa.EsipaError, es10_iot_answers.IotError)
"""The last two are well-formed error answers."""
METADATA = tlv.encode(0xBF2F, bytes.fromhex("800106 81020640 0C03612E62"), tlv.encode(0x5A, ICCID))
COMPACT = compact.InstallResult(SIGNATURE, b"\x01", 5, compact_aid=b"\x00\x10")
EPR = package.signed_result(
    package.result_signed("a", 1, 2, [OperationResult("addEim", association_token=5), OperationResult("getRAT")]),
    SIGNATURE,
)
DATA = ipa_data.IpaEuiccData(
    notifications=(COMPACT.encode(),),
    default_smdp_address="a",
    package_results=(EPR,),
    eum_certificate=CERTIFICATE,
    capabilities=ipa_data.IpaCapabilities(("minimizeEsipaBytes",), ("ipaRetrieveHttps",)),
    device_info=es10.device_info(bytes(4)),
)


def request(operations: list[Any]) -> bytes:
    return package.package_request(package.package_signed("a", bytes(16), 1, operations, b"\x01"), SIGNATURE)


def parse_request(raw: bytes) -> object:
    assert package.identity(raw) is not None
    return package.EuiccPackageRequest.parse(raw)


def parse_results(raw: bytes) -> object:
    result = package.parse_result(raw)
    if isinstance(result, package.SignedResult):
        for one in result.results:
            assert one.name
            if one.function == "getRAT":
                one.rules()
            if one.function == "listProfileInfo":
                iot_info.iot_profile_infos(one.content)
    return result


def describe(raw: bytes) -> object:
    # Never raises, whatever comes.
    assert es10_iot_answers.describe(raw, raw)
    assert esipa.describe(raw, raw)
    return es10_iot_answers.result_code(raw)


DECODERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "psmos": (
        parse_request,
        request([Enable(ICCID, True), ListProfileInfo(), ConfigureImmediateEnable(True, "2.999", "a")]),
    ),
    "ecos": (parse_request, request([AddEim(EIM), UpdateEim(EIM)])),
    "result": (parse_results, EPR),
    "unsigned": (parse_results, package.unsigned_error("a", b"\x01", 5)),
    "configuration": (EimConfigurationData.parse, EIM.encode()),
    "initial eims": (es10_iot.initial_eims, es10_iot.add_initial_eim([EIM])),
    "search": (es10_iot.searched_notifications, es10_iot.retrieve_notifications(events=["enable"])),
    "reset": (es10_iot.reset_options, es10_iot.memory_reset(es10_iot.RESET_OPTIONS)),
    "immediate": (es10_iot.immediate_enabling, es10_iot.configure_immediate_profile_enabling(True, "2.999.10", "a")),
    "refresh": (es10_iot.refresh_flag, es10_iot.profile_rollback(True)),
    "eim search": (es10_iot.searched_eim, es10_iot.get_eim_configuration_data("a")),
    "certificates": (
        es10_iot_answers.certificates_of,
        es10_iot_answers.certificates(CERTIFICATE, CERTIFICATE),
    ),
    "configurations": (es10_iot_answers.eim_configurations_of, es10_iot_answers.eim_configurations([EIM])),
    "added": (es10_iot_answers.added_eims_of, es10_iot_answers.added_eims([1, None])),
    "rollback": (es10_iot_answers.RollbackResult.parse, es10_iot_answers.RollbackResult(0, EPR).encode()),
    "reset result": (
        es10_iot_answers.MemoryResetResult.parse,
        es10_iot_answers.MemoryResetResult(0, 1, 1).encode(),
    ),
    "retrieved": (
        es10_iot_answers.retrieved,
        es10_iot_answers.retrieved_both(es10_iot_answers.Retrieved((METADATA,), (EPR,))),
    ),
    "data request": (
        ipa_data.IpaEuiccDataRequest.parse,
        ipa_data.IpaEuiccDataRequest((0xBF20, 0xA5), b"\x01", Search(seq=1), 2, b"\x03").encode(),
    ),
    "data": (ipa_data.parse_response, DATA.encode()),
    "data of 1.0": (ipa_data.parse_response, DATA.encode(Version.V1_0_1)),
    "trigger": (
        ProfileDownloadTrigger.parse,
        ProfileDownloadTrigger(smds=True, smds_address="a", transaction_id=b"\x01").encode(),
    ),
    "trigger result": (
        ProfileDownloadTriggerResult.parse,
        ProfileDownloadTriggerResult(b"\x01", error_reason=127, error_response=b"\x02").encode(),
    ),
    "package result": (
        objects.parse_package_result,
        objects.PackageResult(EPR, (METADATA, COMPACT.encode())).encode(),
    ),
    "acknowledgements": (objects.acknowledged, objects.acknowledgements([1, 200])),
    "notification": (objects.parse_notification, COMPACT.encode()),
    "other notification": (
        objects.parse_notification,
        compact.OtherNotification(SIGNATURE, METADATA, bytes(16)).encode(),
    ),
    "authentication": (
        compact.AuthenticateResponse.parse,
        compact.AuthenticateResponse(SIGNATURE, None, b"", b"\xa0\x00", CERTIFICATE, CERTIFICATE).encode(),
    ),
    "download": (compact.DownloadResponse.parse, compact.DownloadResponse(SIGNATURE, bytes(65), bytes(32)).encode()),
    "cancel": (compact.CancelResponse.parse, compact.CancelResponse(SIGNATURE, 3).encode()),
    "info2": (
        iot_info.IotEuiccInfo2.parse,
        iot_info.IotEuiccInfo2(0, (b"\x01",), b"", b"\x01\x02\x03", iot_info.IotSpecificInfo()).added_to(
            bytes.fromhex("BF2200")
        ),
    ),
    "profiles": (
        iot_info.iot_profile_infos,
        iot_info.IotProfileMembers(True, True, True).added_to(tlv.encode(0xE3, tlv.encode(0x5A, ICCID))),
    ),
    "fci": (
        iot_info.IsdrConfiguration.from_fci,
        tlv.encode(0x6F, iot_info.IsdrConfiguration(ipae_supported=True).encode()),
    ),
    "terminal": (iot_info.claims_ipad, iot_info.terminal_capability()),
    "people": (describe, es10_iot_answers.answer(es10_iot.IotTag.IMMEDIATE_ENABLE, 4)),
    "poll": (
        esipa.decode_request,
        esipa.encode_request("getEimPackage", {"eidValue": bytes(16), "notifyStateChange": True}),
    ),
    "provide": (
        esipa.decode_request,
        esipa.encode_request("provideEimPackageResult", {"eidValue": bytes(16), "eimPackageResult": EPR}),
    ),
    "handle": (
        esipa.decode_request,
        esipa.encode_request("handleNotification", {"pendingNotification": COMPACT.encode()}),
    ),
    "cancellation": (
        esipa.decode_request,
        esipa.encode_request(
            "cancelSession", {"transactionId": b"\x01", "cancelSessionResponse": b"\xbf\x41\x03\x81\x01\x05"}
        ),
    ),
    "package": (
        lambda raw: esipa.decode_response("getEimPackage", raw),
        esipa.encode_response("getEimPackage", {"euiccPackageRequest": request([])}),
    ),
    "receipt": (
        lambda raw: esipa.decode_response("provideEimPackageResult", raw),
        esipa.encode_response("provideEimPackageResult", {"eimAcknowledgements": objects.acknowledgements([1])}),
    ),
}


@pytest.mark.parametrize("name", DECODERS)
def test_good_objects_decode(name: str) -> None:
    decode, good = DECODERS[name]
    decode(good)


@given(
    st.sampled_from(sorted(DECODERS)),
    st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=4),
    st.none() | st.integers(0, 2**16),
)
@settings(max_examples=600)
def test_spoiled_objects_decode_or_raise_an_error_of_the_tree(
    name: str, changes: list[tuple[int, int]], cut: int | None
) -> None:
    decode, good = DECODERS[name]
    spoiled = bytearray(good)
    for place, byte in changes:
        spoiled[place % len(spoiled)] = byte
    raw = bytes(spoiled if cut is None else spoiled[: cut % len(spoiled)])
    with contextlib.suppress(*REFUSALS):
        decode(raw)


@given(st.sampled_from(sorted(DECODERS)), st.binary(max_size=64))
@settings(max_examples=200)
def test_noise(name: str, raw: bytes) -> None:
    with contextlib.suppress(*REFUSALS):
        DECODERS[name][0](raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
FIELDS = sorted({member.field for function in esipa.FUNCTIONS.values() for member in function.request} | {"header"})


@given(
    st.sampled_from(sorted(esipa.FUNCTIONS)),
    st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=4), json_values, max_size=5),
)
@settings(max_examples=200)
def test_any_json_decodes_or_raises_an_error_of_the_tree(function: str, document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()
    for decode in (esipa_json.decode_request, esipa_json.decode_response):
        with contextlib.suppress(*REFUSALS):
            decode(function, body)
