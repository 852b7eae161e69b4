"""Guessing and flooding end somewhere: tries are counted for good, limits cannot be walked around."""

import asyncio
import hashlib
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.servers.smdp import Limits, session
from esim_bench.servers.smdp.http import es9_app
from esim_bench.servers.smdp.limits import HOUR_NS, Throttle

EXECUTED = "Executed-Success"


# ------------------------------------------------------------------------------------------------ confirmation codes


def test_parallel_sessions_share_the_tries_of_an_order(bench):
    bench.release("CODE", confirmation_code="4711")
    euicc = bench.euicc()
    prepared = []
    for number in range(6):
        offered = bench.authenticate(euicc, "CODE")
        prepared.append((offered["transactionId"], euicc.prepare(offered, f"000{number}")))
    codes = [
        bench.call("getBoundProfilePackage", transactionId=session_id, prepareDownloadResponse=response).code
        for session_id, response in prepared
    ]
    assert codes == ["8.2.7/3.8", "8.2.7/3.8"] + ["8.2.7/6.4"] * 4
    assert bench.state("CODE") == "Error"


def test_servers_on_one_file_share_the_tries_of_an_order(make_bench, tmp_path):
    path = tmp_path / "smdp.sqlite"
    benches = [make_bench(path=path, seed=f"server {number}") for number in range(3)]
    benches[0].release("CODE", confirmation_code="4711", max_cc_failures=4)
    guesses = []
    for number in range(9):
        bench, euicc = benches[number % 3], benches[0].euicc(number + 1)
        offered = bench.authenticate(euicc, "CODE")
        guesses.append((bench, euicc, offered))
    start = threading.Barrier(3)

    def guess(which):
        start.wait()
        return [bench.bind(euicc, offered, "0000").code for bench, euicc, offered in guesses[which::3]]

    with ThreadPoolExecutor(3) as pool:
        codes = [code for some in pool.map(guess, range(3)) for code in some]
    assert sorted(codes) == ["8.2.7/3.8"] * 3 + ["8.2.7/6.4"] * 6
    assert sum(download.cc_failures for download in benches[0].store.downloads()) == 4


def test_tries_survive_a_restart(make_bench, tmp_path):
    path = tmp_path / "smdp.sqlite"
    codes = []
    for number in range(4):
        bench = make_bench(path=path, seed=f"start {number}")
        bench.release("CODE", confirmation_code="4711")
        euicc = bench.euicc()
        offered = bench.authenticate(euicc, "CODE")
        codes.append(offered.code or bench.bind(euicc, offered, "0000").code)
        bench.store.close()
    assert codes == ["8.2.7/3.8", "8.2.7/3.8", "8.2.7/6.4", "8.2.7/6.4"]


def test_many_orders_do_not_give_one_euicc_many_guesses(make_bench):
    bench = make_bench(limits=Limits(confirmation_codes=4))
    for number in range(4):
        bench.release(f"CODE-{number}", confirmation_code="4711", max_cc_failures=2, test_order=True)
    euicc, other = bench.euicc(1), bench.euicc(2)
    for number in range(4):
        assert bench.bind(euicc, bench.authenticate(euicc, f"CODE-{number}"), "0000").code == "8.2.7/3.8"
    # Even the right one, and it does not cost the order a try.
    assert bench.bind(euicc, bench.authenticate(euicc, "CODE-0"), "4711").code == "8.2.7/6.4"
    assert {download.cc_failures for download in bench.store.downloads()} == {1}
    assert bench.bind(other, bench.authenticate(other, "CODE-0"), "4711").status == EXECUTED
    bench.now_ns += HOUR_NS
    assert bench.bind(euicc, bench.authenticate(euicc, "CODE-0"), "4711").status == EXECUTED


# -------------------------------------------------------------------------------------------------------- MatchingIDs


def test_guessing_matching_ids_ends(make_bench):
    bench = make_bench(limits=Limits(matching_ids=5))
    bench.release("SECRET")
    euicc, other = bench.euicc(1), bench.euicc(2)
    bench.release("LINKED", eid=other.eid)
    for number in range(4):
        assert bench.authenticate(euicc, f"GUESS-{number}").code == "8.2.6/3.8"
    # An order of somebody else is a find, and a guess too.
    assert bench.authenticate(euicc, "LINKED").code == "8.1.1/3.8"
    for matching_id in ("SECRET", "LINKED", ""):
        assert bench.authenticate(euicc, matching_id).code == "8.2.6/3.8"
    assert bench.authenticate(other, "SECRET").status == EXECUTED
    bench.now_ns += HOUR_NS
    assert bench.authenticate(euicc, "SECRET").status == EXECUTED


def test_an_euiccs_own_orders_are_no_guesses(make_bench):
    bench = make_bench(limits=Limits(matching_ids=2))
    bench.release("MINE")
    bench.release("LATER", released=False)
    euicc = bench.euicc()
    bench.download(euicc, "MINE")
    bench.notify(euicc.result())
    for _ in range(3):
        assert bench.authenticate(euicc, "MINE").code == "8.2.6/3.8"
        assert bench.authenticate(euicc, "LATER").code == "8.2/1.2"
        assert bench.authenticate(euicc, "").code == "8.1.1/3.8"
    bench.release("NEXT")
    assert bench.authenticate(euicc, "NEXT").status == EXECUTED


def test_nobody_uses_up_the_guesses_of_another_euicc(make_bench, tools):
    bench = make_bench(limits=Limits(matching_ids=2))
    bench.release("SECRET")
    euicc = bench.euicc()
    for _ in range(5):
        assert bench.authenticate(euicc, "GUESS", key=tools.other_key).code == "8.1/6.1"
    assert bench.authenticate(euicc, "SECRET").status == EXECUTED


@given(times=st.lists(st.integers(0, 100), max_size=40).map(sorted), limit=st.integers(1, 5))
def test_a_throttle_counts_what_lies_within_its_window(times, limit):
    throttle, taken = Throttle(limit, 10), []
    for now in times:
        blocked = throttle.exceeded(b"key", now)
        assert blocked == (sum(time > now - 10 for time in taken) >= limit)
        if not blocked:
            throttle.count(b"key", now)
            taken.append(now)
        assert not throttle.exceeded(b"other", now)


def test_a_throttle_remembers_so_many_and_no_more(monkeypatch):
    monkeypatch.setattr(Throttle, "MAX_KEYS", 3)
    throttle = Throttle(1, 1000)
    for number in range(5):
        throttle.count(bytes((number,)), number)
    assert [throttle.exceeded(bytes((number,)), 5) for number in range(5)] == [False, False, True, True, True]


# ----------------------------------------------------------------------------------------------------------- downloads


def test_download_attempts_count_for_the_order(bench):
    bench.release("FEW", max_downloads=3)
    codes = [bench.authenticate(bench.euicc(number), "FEW").code for number in (1, 2, 3, 4, 1)]
    assert codes == [None, None, None, "8.8.5/6.4", "8.8.5/6.4"]


# ------------------------------------------------------------------------------------------------------------- sessions


def test_a_seeded_servers_transaction_ids_never_come_back(make_bench, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "MAX_REMEMBERED", 2)
    ids, challenges = [], []
    for _ in range(3):
        bench = make_bench(path=tmp_path / "smdp.sqlite", limits=Limits(sessions=2))
        euicc = bench.euicc()
        for _ in range(8):
            opened = bench.initiate(euicc)
            ids.append(opened["transactionId"])
            challenges.append(opened["serverSigned1"][-16:])
        bench.store.close()
    assert len(set(ids)) == len(set(challenges)) == 24


def test_sessions_expire_in_the_order_of_their_last_step(make_bench):
    bench = make_bench(limits=Limits(sessions=3))
    bench.release(test_order=True)
    first = bench.euicc(1)
    authenticated = bench.authenticate(first)
    bench.now_ns += 500 * 1_000_000_000
    bound = bench.bind(first, authenticated)
    assert bound.status == EXECUTED
    bench.now_ns += 200 * 1_000_000_000
    for number in range(5):
        bench.initiate(bench.euicc(2), challenge=hashlib.sha256(bytes((number,))).digest()[:16])
    # It lives since its last step, and its answer is still there.
    assert bench.cancel(first, authenticated["transactionId"], reason=1).status == EXECUTED


def test_a_client_that_takes_no_answer_is_left(bench):
    scope = {"type": "http", "path": "/elsewhere", "method": "POST", "headers": []}

    async def never(*_):
        await asyncio.Event().wait()

    asyncio.run(es9_app(bench.smdp.handle, body_seconds=0.01)(scope, never, never))


# -------------------------------------------------------------------------------------------------------------- secrecy


def test_secrets_are_in_no_log_and_in_no_answer(make_bench, tools, caplog):
    caplog.set_level(logging.DEBUG)
    bench = make_bench()
    code, matching_id = "918273645546", "SECRET-MATCHING-ID"
    order = bench.release(matching_id, confirmation_code=code)
    hashed = hashlib.sha256(code.encode()).digest()
    euicc = bench.euicc()
    answers = [bench.authenticate(bench.euicc(2), f"{matching_id}-2")]
    offered = bench.authenticate(euicc, matching_id)
    answers += [bench.bind(euicc, offered, guess) for guess in ("0000", None)]
    answers += [bench.bind(euicc, offered, code), bench.cancel(euicc, "00" * 16)]
    bench.notify(euicc.result(error=10))
    bench.notify(euicc.notification("enable", 2, key=tools.other_key))
    bad = euicc.authenticate(bench.initiate(euicc), matching_id).replace(
        matching_id.encode(), matching_id[:-1].encode() + b"\xff"
    )
    opened = bench.initiate(euicc)
    refused = bench.post(
        "/gsma/rsp2/asn1",
        tools.t(0xA2, tools.t(0xBF3B, tools.t(0x80, bytes.fromhex(opened["transactionId"])), bad)),
        {"Content-Type": "application/x-gsma-rsp-asn1"},
    )
    assert refused.status == 400
    text = caplog.text + "".join(answer.text for answer in answers) + repr(order) + refused.body.decode()
    text = text.lower()
    assert "getboundprofilepackage" in text
    raw = matching_id[:-1].encode()
    for secret in (code, matching_id.lower(), hashed.hex(), repr(hashed).lower(), raw.hex(), raw[:16].hex()):
        assert secret not in text


@pytest.mark.parametrize("matching_id", ["SECRET lower", "TEST"])
def test_a_wrong_order_does_not_print_its_matching_id(bench, tools, matching_id):
    with pytest.raises(Exception, match="MatchingID") as refused:
        bench.release(matching_id, tools.package(10))
    assert matching_id not in str(refused.value)
