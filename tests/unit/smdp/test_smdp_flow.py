"""The SM-DP+ from initiateAuthentication to the installation result (SGP.22 3.1.3), as an LPA and an eUICC see it."""

import base64
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from esim_bench.servers.smdp.core import host_of


def test_a_whole_download_yields_the_package_that_was_released(bench, tools):
    euicc = bench.euicc()
    bound = bench.download(euicc)
    assert bound.status == tools.EXECUTED
    opened = euicc.unbind(bound["boundProfilePackage"])
    assert opened.configure.hex() == "bf2400"
    assert opened.metadata == tools.metadata()
    assert opened.upp == tools.package()
    assert bench.state() == "Downloaded"
    record = bench.notify(euicc.result())
    assert (record.verified, record.operation, record.detail, record.eid) == (True, "install", "success", euicc.eid)
    assert bench.state() == "Installed"


def test_initiate_authentication_answers_as_the_standard_says(bench, tools):
    euicc = bench.euicc()
    answer = bench.initiate(euicc)
    assert list(answer) == [
        "transactionId",
        "serverSigned1",
        "serverSignature1",
        "euiccCiPKIdToBeUsed",
        "serverCertificate",
    ]
    transaction_id = answer["transactionId"]
    assert transaction_id == transaction_id.upper()
    assert len(bytes.fromhex(transaction_id)) == 16
    assert answer["euiccCiPKIdToBeUsed"] == tools.t(0x04, euicc.signing[0])
    assert answer["serverCertificate"] == bench.pki.smdp_auth.certificate
    signed = answer["serverSigned1"]
    assert signed[:4] == b"\x30\x51\x80\x10"
    assert signed[4:20].hex().upper() == transaction_id
    assert signed[20:67] == tools.t(0x81, euicc.challenge) + tools.t(0x83, tools.ADDRESS.encode()) + b"\x84\x10"


def test_the_same_seed_gives_the_same_bytes_and_another_euicc_changes_nothing(make_bench):
    def run(*before):
        bench = make_bench()
        bench.release(test_order=True)
        for number in before:
            bench.download(bench.euicc(number))
        euicc = bench.euicc(7)
        opened = bench.initiate(euicc)
        return opened.http.body

    assert run() == run()
    assert run() == run(1, 2, 3)


def test_two_sessions_with_one_challenge_are_two_transactions(bench):
    euicc = bench.euicc()
    first, second = bench.initiate(euicc), bench.initiate(euicc)
    assert first["transactionId"] != second["transactionId"]
    assert first["serverSigned1"] != second["serverSigned1"]


@pytest.mark.parametrize("address", ["TestSMDPplus1.EXAMPLE.com", "testsmdpplus1.example.com:8443"])
def test_the_address_is_compared_without_case_and_port_and_echoed(bench, tools, address):
    answer = bench.initiate(bench.euicc(), address)
    assert tools.t(0x83, address.encode()) in answer["serverSigned1"]


def test_a_lost_answer_is_given_again(bench):
    euicc = bench.euicc()
    opened = bench.initiate(euicc)
    request = {
        "transactionId": opened["transactionId"],
        "authenticateServerResponse": euicc.authenticate(opened),
    }
    first = bench.call("authenticateClient", **request)
    assert bench.call("authenticateClient", **request).http.body == first.http.body
    request = {"transactionId": opened["transactionId"], "prepareDownloadResponse": euicc.prepare(first)}
    bound = bench.call("getBoundProfilePackage", **request)
    assert bench.call("getBoundProfilePackage", **request).http.body == bound.http.body
    other = euicc.prepare(first)
    again = bench.call("getBoundProfilePackage", transactionId=opened["transactionId"], prepareDownloadResponse=other)
    assert again.code == "8.2/3.7"


def test_a_test_order_goes_to_many_euiccs_and_again_to_the_same(bench, tools):
    bench.release("MANY", test_order=True)
    for number in (1, 2, 3, 1):
        euicc = bench.euicc(number)
        bound = bench.download(euicc, "MANY")
        assert euicc.unbind(bound["boundProfilePackage"]).upp == tools.package()
        assert bench.notify(euicc.result(seq=number * 10 + len(bench.store.notifications()))).verified
    assert bench.state("MANY") == "Released"
    assert {download.state.value for download in bench.store.downloads()} == {"Installed"}


@pytest.mark.parametrize("matching_id", ["", None])
def test_a_default_order_is_found_by_eid(bench, matching_id):
    euicc = bench.euicc(5)
    assert bench.authenticate(euicc, matching_id).code == "8.1.1/3.8"
    bench.release("", eid=euicc.eid)
    assert bench.download(euicc, matching_id).status == "Executed-Success"
    assert bench.authenticate(bench.euicc(6), matching_id).code == "8.1.1/3.8"


def test_a_default_order_for_anybody(bench):
    bench.release("", test_order=True)
    for number in (1, 2):
        assert bench.download(bench.euicc(number), "").status == "Executed-Success"


def test_a_confirmation_code(bench):
    bench.release("CODE", confirmation_code="4711")
    euicc = bench.euicc()
    offered = bench.authenticate(euicc, "CODE")
    assert bytes.fromhex("0101FF") in offered["smdpSigned2"]
    assert bench.bind(euicc, offered).code == "8.2.7/2.2"
    assert bench.bind(euicc, offered, "0815").code == "8.2.7/3.8"
    assert bench.bind(euicc, offered, "4711").status == "Executed-Success"


def test_a_retry_offers_the_euiccs_own_one_time_key_again(bench, tools):
    euicc = bench.euicc()
    first = euicc.unbind(bench.download(euicc)["boundProfilePackage"])
    key = euicc.otpk()
    offered = bench.authenticate(euicc)
    assert tools.t(0x5F49, key) in offered["smdpSigned2"]
    second = euicc.unbind(bench.bind(euicc, offered)["boundProfilePackage"])
    assert euicc.otpk() == key
    assert second.upp == first.upp
    assert second.areas[0xA3][0].raw != first.areas[0xA3][0].raw


def test_random_keys_protect_the_elements(make_bench, tools):
    bench = make_bench(random_keys=True)
    bench.release()
    euicc = bench.euicc()
    opened = euicc.unbind(bench.download(euicc)["boundProfilePackage"])
    assert opened.keys[:2] == bytes.fromhex("BF26")
    assert opened.upp == tools.package()


@pytest.mark.parametrize("size", [1, 700, 1007 * 2 - 60, 20000])
def test_segments_are_as_full_as_they_may_be(make_bench, tools, size):
    bench = make_bench()
    icon = tools.t(0x94, bytes(1020))
    metadata = tools.metadata(tools.ICCID, tools.t(0x93, b"\x01"), icon)
    bench.release("TEST", tools.package(size), metadata)
    euicc = bench.euicc()
    opened = euicc.unbind(bench.download(euicc)["boundProfilePackage"])
    assert (opened.upp, opened.metadata) == (tools.package(size), metadata)
    lengths = [len(segment.raw) for segment in opened.areas[0xA3]]
    assert all(length == 1020 for length in lengths[:-1])
    assert len(lengths) == -(-len(opened.upp) // 1007)
    assert len(opened.areas[0xA1][0].raw) == 1020


def test_a_worker_thread_runs_the_functions_of_a_served_server(make_bench, tools):
    with ThreadPoolExecutor(1) as worker:
        bench = make_bench(executor=worker)
        bench.release()
        euicc = bench.euicc()
        assert euicc.unbind(bench.download(euicc)["boundProfilePackage"]).upp == tools.package()


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("DP.Example.com", "dp.example.com"),
        ("dp.example.com:443", "dp.example.com"),
        ("[dp.example.com]", "[dp.example.com]"),
        ("[::1]:8443", "::1"),
        ("::1", "::1"),
        ("dp:port", "dp:port"),
        ("", ""),
    ],
)
def test_addresses_compare_by_host(written, host):
    assert host_of(written) == host


# ------------------------------------------------------------------------------------------------ foreign CIs, curves


def test_a_brainpool_pki(make_bench, tools):
    bench = make_bench("brainpool")
    bench.release()
    euicc = bench.euicc()
    opened = euicc.unbind(bench.download(euicc)["boundProfilePackage"])
    assert opened.upp == tools.package()


@pytest.mark.parametrize("name", ["own", "foreign", "brainpool"])
def test_one_server_under_several_cis_serves_each_euicc_by_its_own(make_bench, pkis, tools, name):
    bench = make_bench(trusted=["own", "foreign", "brainpool"])
    bench.release()
    euicc = bench.euicc(pki=pkis[name])
    opened = bench.initiate(euicc)
    assert opened["serverCertificate"] == pkis[name].smdp_auth.certificate
    assert euicc.unbind(bench.download(euicc)["boundProfilePackage"]).upp == tools.package()


def test_the_euiccs_preference_decides_between_cis(make_bench, pkis, tools):
    bench = make_bench(trusted=["own", "brainpool"])
    euicc = bench.euicc(pki=pkis["brainpool"])
    euicc.verification = [b"\x01" * 20, pkis["brainpool"].ci_key.key_id, pkis["own"].ci_key.key_id]
    assert bench.initiate(euicc)["serverCertificate"] == pkis["brainpool"].smdp_auth.certificate
    # A CI both ways counts before the first one of a single list.
    euicc.verification.reverse()
    assert bench.initiate(euicc)["serverCertificate"] == pkis["brainpool"].smdp_auth.certificate
    # It verifies servers by one CI, but has a certificate of its own under another.
    euicc.verification = [pkis["own"].ci_key.key_id]
    opened = bench.initiate(euicc)
    assert opened["serverCertificate"] == pkis["own"].smdp_auth.certificate
    assert opened["euiccCiPKIdToBeUsed"] == tools.t(0x04, pkis["brainpool"].ci_key.key_id)
    bench.release()
    assert euicc.unbind(bench.download(euicc)["boundProfilePackage"]).upp == tools.package()


# --------------------------------------------------------------------------------------------------------------- cancel


@pytest.mark.parametrize(
    ("reason", "state"), [(0, "Error"), (1, "Released"), (2, "Released"), (3, "Error"), (5, "Error"), (127, "Error")]
)
def test_cancel_session(bench, reason, state):
    euicc = bench.euicc()
    offered = bench.authenticate(euicc)
    answer = bench.cancel(euicc, offered["transactionId"], reason=reason)
    assert answer.status == "Executed-Success"
    assert dict(answer) == {}
    assert bench.state() == state
    assert bench.bind(euicc, offered).code == "8.10.1/3.9"
    code = bench.authenticate(euicc).code
    assert code == (None if state == "Released" else "8.2.6/3.8")


def test_a_cancelled_test_order_stays_open(bench):
    bench.release("MANY", test_order=True)
    euicc = bench.euicc()
    bench.cancel(euicc, bench.authenticate(euicc, "MANY")["transactionId"], reason=0)
    assert bench.download(euicc, "MANY").status == "Executed-Success"


def test_a_session_whose_order_was_refused_can_be_cancelled(bench):
    euicc = bench.euicc()
    opened = bench.initiate(euicc)
    response = euicc.authenticate(opened, "NOBODY")
    refused = bench.call(
        "authenticateClient", transactionId=opened["transactionId"], authenticateServerResponse=response
    )
    assert refused.code == "8.2.6/3.8"
    assert bench.cancel(euicc, opened["transactionId"]).status == "Executed-Success"


def test_transaction_ids_are_taken_in_either_case(bench):
    euicc = bench.euicc()
    opened = bench.initiate(euicc)
    body = {
        "authenticateServerResponse": base64.b64encode(euicc.authenticate(opened)).decode(),
        "transactionId": opened["transactionId"].lower(),
        "header": {"functionRequesterIdentifier": "1.2.3", "functionCallIdentifier": "x"},
    }
    answer = bench.post("authenticateClient", body)
    assert opened["transactionId"] in answer.body.decode()


# ------------------------------------------------------------------------------------------------------- TS.48 packages


@pytest.mark.parametrize(("name", "segments"), [("TS48v1_A.der", 12), ("TS48v5_SAIP2.3_NoBERTLV.der", 13)])
def test_the_ts48_packages_are_bound(make_bench, tools, name, segments):
    folder = Path(os.environ.get("ESIM_BENCH_TS48") or Path(__file__).resolve().parents[3] / ".." / "shared" / "data")
    if not (folder / name).is_file():
        pytest.skip(f"no {name} in {folder}: set ESIM_BENCH_TS48 to the folder of the TS.48 packages")
    upp = (folder / name).read_bytes()
    bench = make_bench()
    bench.release("TS48", upp, test_order=True)
    euicc = bench.euicc()
    opened = euicc.unbind(bench.download(euicc, "TS48")["boundProfilePackage"])
    assert opened.upp == upp
    assert len(opened.areas[0xA3]) == segments
    poor = bench.euicc(2, capabilities=bytes.fromhex("700000"))
    assert bench.authenticate(poor, "TS48").code == "8.2.5/4.3"
