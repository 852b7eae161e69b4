"""What is written is read again as it was: metadata, ATRs, object identifiers, profile elements."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esim_bench.codec.atr import Atr, build_atr
from esim_bench.codec.metadata import Metadata
from esim_bench.codec.saip import Element, encode_element
from esim_bench.codec.schema import SAIP

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=16)
networks = st.from_regex(r"[0-9]{5,6}", fullmatch=True)


@QUICK
@given(
    st.builds(
        Metadata,
        iccid=st.binary(min_size=10, max_size=10),
        service_provider=texts.filter(lambda text: len(text.encode()) <= 32),
        profile_name=texts,
        profile_class=st.sampled_from(("test", "provisioning", "operational")),
        notifications=st.lists(
            st.tuples(
                st.lists(st.sampled_from(("install", "enable")), min_size=1, unique=True).map(sorted), st.just("a.b")
            ).map(
                lambda item: (tuple(reversed(item[0])) if item[0] == ["enable", "install"] else tuple(item[0]), item[1])
            ),
            max_size=2,
        ).map(tuple),
        owner=st.none()
        | st.tuples(st.binary(min_size=3, max_size=3), st.none() | st.binary(min_size=1, max_size=8), st.none()),
    )
)
def test_metadata_are_read_as_they_were_written(metadata: Metadata) -> None:
    assert Metadata.parse(metadata.encode()) == metadata


@QUICK
@given(st.lists(st.sampled_from((0, 1)), min_size=1, max_size=3, unique=True), st.binary(max_size=15))
def test_an_atr_is_read_as_it_was_built(protocols: list[int], historical: bytes) -> None:
    atr = Atr.parse(build_atr(protocols, historical))
    assert (list(atr.protocols), atr.historical) == (protocols, historical)


@QUICK
@given(st.lists(st.integers(0, 2**40), min_size=2, max_size=6))
def test_object_identifiers_are_read_as_they_were_written(arcs: list[int]) -> None:
    oid = ".".join(map(str, [2, *arcs]))
    header = {
        "major-version": 2,
        "minor-version": 3,
        "iccid": bytes(10),
        "eUICC-Mandatory-services": {},
        "eUICC-Mandatory-GFSTEList": [oid],
    }
    _, value = SAIP.decode("ProfileElement", SAIP.encode("ProfileElement", ("header", header)))
    assert value == header


pins = st.fixed_dictionaries(
    {"keyReference": st.integers(-(2**60), 2**60), "pinValue": st.binary(min_size=8, max_size=8)},
    optional={"unblockingPINReference": st.integers(0, 255), "pinAttributes": st.integers(0, 255)},
)


@QUICK
@given(st.lists(pins, min_size=1, max_size=26), st.integers(0, 32767), st.booleans())
def test_an_element_is_read_as_it_was_written(codes: list[dict[str, Any]], number: int, mandated: bool) -> None:
    head: dict[str, Any] = {"mandated": None} if mandated else {}
    value = {"pin-Header": {**head, "identification": number}, "pinCodes": ("pinconfig", codes)}
    element = Element.parse(encode_element("pinCodes", value))
    assert (element.value, element.identification, element.mandated) == (value, number, mandated)
