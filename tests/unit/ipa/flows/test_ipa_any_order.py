"""Any order of orders, losses, outages and power cuts: each order ends once, and the device comes to rest."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esim_bench.codec.euicc_operations import Delete, Enable, ListProfileInfo

ORDERS = st.sampled_from(["enable first", "enable second", "enable, rollback", "delete new", "list", "trigger", "data"])
FAILURES = st.lists(st.sampled_from([None, None, "broken", "silent", "lost"]), max_size=6)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("order"), ORDERS, st.integers(0, 1)),
        st.tuples(st.just("poll"), FAILURES, st.none()),
        st.tuples(st.just("cut"), st.integers(0, 60), FAILURES),
        st.tuples(st.just("outage"), st.booleans(), st.none()),
        st.tuples(st.just("fallback"), st.none(), st.none()),
    ),
    max_size=12,
)


def order(parts, eim, what):
    match what:
        case "enable first":
            eim.package(Enable(parts.FIRST))
        case "enable second":
            eim.package(Enable(parts.SECOND))
        case "enable, rollback":
            eim.package(Enable(parts.SECOND, rollback=True))
        case "delete new":
            eim.package(Delete(parts.NEW))
        case "list":
            eim.package(ListProfileInfo())
        case "trigger":
            eim.trigger(activation_code="LPA:1$dp.example.com$ANY")
        case "data":
            eim.data(0xBF20, 0xA2)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ACTIONS, st.sampled_from([("directRsp",), ("indirectRsp",), ("directRsp", "indirectRsp")]))
def test_each_order_ends_once_and_nothing_is_left(ipa_parts, actions, features):
    eims = [ipa_parts.Eim(), ipa_parts.Eim("other.example.com")]
    device = ipa_parts.Device(*eims, features=features, tries=8, first_delay=0.1)
    device.euicc.fallback = ipa_parts.FIRST
    ordered = [0, 0]

    def polled(left, failures):
        device.failures = list(failures)
        device.power.left = left
        try:
            device.poll()
        except ipa_parts.Cut:
            device.power.left = None
            device.start()
        device.power.left = None
        device.failures = []

    for what, first, second in actions:
        if what == "order":
            order(ipa_parts, eims[second], first)
            ordered[second] += 1
        elif what == "poll":
            polled(None, first)
        elif what == "cut":
            polled(first, second)
        elif what == "outage":
            (device.no_network.add if first else device.no_network.discard)(ipa_parts.SECOND)
        else:
            device.run(device.ipa.connectivity_lost())
        assert sum(device.euicc.profiles.values()) == 1

    # The weather clears up.
    device.no_network.clear()
    for _ in range(2):
        device.poll()
    assert device.quiet(), (device.euicc.results, device.journal)
    # The enabled profile is the one that the terminal sees.
    assert device.euicc.shown == device.euicc.enabled
    for eim, number in zip(eims, ordered, strict=True):
        assert len(eim.results) == number
    outcomes = [ipa_parts.outcomes(eim) for eim in eims]
    # As often executed as accepted, and no replayed package was ever needed to find out.
    assert len(device.euicc.executed) == len(set(device.euicc.executed))
    assert all("replayError" not in one for eim in outcomes for one in eim)
    triggered = [
        outcome
        for eim, told in zip(eims, outcomes, strict=True)
        for outcome, raw in zip(told, eim.results, strict=True)
        if raw[:2] == b"\xbf\x54"
    ]
    assert device.euicc.downloads == triggered.count(("ok",))
