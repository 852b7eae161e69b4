"""Counters and replay as a property: whatever is sent in whatever order, each package is executed at most once."""

from hypothesis import given, settings
from hypothesis import strategies as st

from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.euicc_operations import ListEim, UpdateEim
from esim_bench.codec.euicc_package import SignedError, SignedResult, UnsignedError

LIMIT = 0x7FFFFF
counters = st.one_of(st.integers(0, 12), st.integers(LIMIT - 1, LIMIT + 2))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("package"), counters),
        st.tuples(st.just("replay"), st.integers(0, 20)),
        st.tuples(st.just("forged"), counters),
        st.tuples(st.just("other EID"), counters),
        st.tuples(st.just("set counter"), st.tuples(counters, counters)),
        st.tuples(st.just("reset"), st.just(0)),
    ),
    max_size=8,
)


@settings(max_examples=100, deadline=None)
@given(start=st.integers(0, 5), steps=steps)
def test_a_counter_only_grows_and_no_package_is_executed_twice(iot, start, steps):
    card = iot.card()
    eim = iot.Eim()
    (eim.token,) = card.add(eim.configuration(counter=start, association_token=-1))
    stored, sent, last_seq = start, [], -1
    for kind, value in steps:
        if kind == "reset":
            card.reset()
            continue
        new_counter = None
        if kind == "replay":
            if not sent:
                continue
            counter, package = sent[value % len(sent)]
        elif kind == "set counter":
            counter, new_counter = value
            order = UpdateEim(EimConfigurationData(eim.eim_id, counter=new_counter))
            package = eim.package(order, counter=counter)
        else:
            counter = value
            package = eim.package(
                ListEim(),
                counter=counter,
                token=eim.token + 1 if kind == "forged" else None,
                eid=bytes(16) if kind == "other EID" else None,
            )
        result = card.load(package)
        if kind == "forged":
            assert isinstance(result, UnsignedError)
        elif kind == "other EID":
            assert isinstance(result, SignedError)
            assert result.code == 3
        elif counter <= stored:
            assert isinstance(result, SignedError)
            assert result.code == 4
        elif counter > LIMIT:
            assert isinstance(result, SignedError)
            assert result.code == 6
        else:
            assert isinstance(result, SignedResult), kind
            assert result.counter == counter
            assert result.seq > last_seq
            stored, last_seq = counter, result.seq
            sent.append((counter, package))
            if new_counter is not None:
                expected = 6 if new_counter > LIMIT else 7 if new_counter < counter else 0
                assert iot.codes(result) == [("updateEim", expected)]
                stored = new_counter if expected == 0 else stored
        assert card.violations() == []
        assert card.nvm.get(f"iot/eim/{eim.eim_id.encode().hex().upper()}/counter") == stored.to_bytes(8, "big")
