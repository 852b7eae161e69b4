"""Whatever LPAs, the operator and time do to one order, in any sequence: what must never happen, does not."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.servers.smdp import Smdp, SmdpCredentials

MINUTE = 60 * 1_000_000_000
TRIES = 3
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["authenticate"] * 3
            + ["right"] * 2
            + ["wrong"] * 2
            + ["none", "postpone", "reject", "installed", "failed"]
            + ["wait", "restart", "withdraw", "release"]
        ),
        st.integers(0, 1),
        st.integers(0, 3),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS, random_keys=st.booleans(), binding=st.sampled_from(["json", "asn1"]))
def test_one_order(make_bench, tools, actions, random_keys, binding):
    bench = make_bench(binding=binding)
    options = {"confirmation_code": "4711", "max_cc_failures": TRIES, "random_keys": random_keys}
    bench.release("ORDER", **options)
    euiccs = [bench.euicc(1), bench.euicc(2)]
    offers = {0: [], 1: []}
    wrong, owners, over, seq = 0, set(), False, 0
    for action, who, which in actions:
        euicc = euiccs[who]
        mine = offers[who]
        if action == "authenticate":
            offered = bench.authenticate(euicc, "ORDER")
            if offered.status == tools.EXECUTED:
                assert wrong < TRIES
                assert not over
                mine.append((offered, euicc.signature1, euicc.transaction_id))
        elif action in ("right", "wrong", "none") and mine:
            offered, euicc.signature1, euicc.transaction_id = mine[which % len(mine)]
            code = {"right": "4711", "wrong": "0000", "none": None}[action]
            answer = bench.bind(euicc, offered, code)
            taken = answer.status == tools.EXECUTED
            if taken:
                assert (action, over, wrong < TRIES) == ("right", False, True)
                owners.add(who)
                assert euicc.unbind(answer["boundProfilePackage"]).upp == tools.package()
        elif action in ("postpone", "reject") and mine:
            offered, _, euicc.transaction_id = mine[which % len(mine)]
            bench.cancel(euicc, offered["transactionId"], reason=1 if action == "postpone" else 0)
        elif action in ("installed", "failed") and mine:
            seq += 1
            _, _, transaction_id = mine[which % len(mine)]
            error = None if action == "installed" else 10
            bench.notify(euicc.result(seq=seq, error=error, transaction_id=transaction_id))
        elif action == "wait":
            bench.now_ns += which * 4 * MINUTE
        elif action == "restart":
            credentials = SmdpCredentials.from_pki(bench.pki)
            randomness = SeededRandomness("smdp")
            bench.smdp = Smdp(credentials, bench.store, randomness, [tools.ADDRESS], lambda: bench.now_ns)
        elif action == "withdraw" and bench.state("ORDER") not in ("Installed",):
            bench.smdp.cancel_order("ORDER")
        elif action == "release":
            bench.release("ORDER", **options)
        wrong = sum(download.cc_failures for download in bench.store.downloads())
        over = over or bench.state("ORDER") in ("Installed", "Unavailable")
        assert wrong <= TRIES
        assert len(owners) <= 1
    bench.store.close()
