"""Whatever comes under a tag of an IoT function: a status word or an answer of that function, and no harm is done."""

from hypothesis import given, settings
from hypothesis import strategies as st

from esim_bench.codec import tlv
from esim_bench.codec.euicc_operations import ListEim

TAGS = (0xBF51, 0xBF55, 0xBF56, 0xBF57, 0xBF5F, 0xBF2B, 0xBF30, 0xBF42)
members = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda tag, value: tlv.encode(tag, value),
        st.sampled_from((0x30, 0x80, 0x81, 0x82, 0xA0, 0xA1, 0x5A, 0x5F37, 0x04)),
        st.recursive(
            st.binary(max_size=12),
            lambda inner: st.builds(tlv.encode, st.sampled_from((0x30, 0x80, 0x83, 0x84, 0xA0, 0xA5, 0xA8)), inner),
            max_leaves=4,
        ),
    ),
)


@settings(max_examples=200, deadline=None)
@given(tag=st.sampled_from(TAGS), parts=st.lists(members, max_size=3), version=st.integers(0, 2))
def test_garbage_is_answered_and_does_no_harm(iot, tag, parts, version):
    card, eim = iot.associated(standards=iot.standards[version])
    before = card.nvm.contents()
    data, sw = card.chain(tlv.encode(tag, *parts))
    assert sw in (0x9000, 0x6A80, 0x6A88)
    if sw == 0x9000:
        assert tlv.parse(data).tag == tag
    else:
        assert data == b""
    assert card.nvm.contents() == before
    assert iot.codes(card.load(eim.package(ListEim()))) == [("listEim", 0)]
