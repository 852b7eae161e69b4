"""The desk's forms on the pipe: both sides have every method, every value comes out as it went in."""

import inspect
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.desk import wire
from esim_bench.desk.api import (
    Busy,
    Desk,
    DeskError,
    JournalOpened,
    Progress,
    RunEnded,
    RunRequest,
    SlotTrouble,
    Source,
    Trouble,
)
from esim_bench.desk.client import RemoteDesk
from esim_bench.desk.local import LocalDesk

TROUBLE = Trouble(kind="RigError", what="broken", hint="mend it")


def test_both_ends_are_desks() -> None:
    for name, function in inspect.getmembers(Desk, inspect.isfunction):
        if not name.startswith("_"):
            wanted = inspect.signature(function)
            for side in (LocalDesk, RemoteDesk):
                assert inspect.signature(getattr(side, name)) == wanted, f"{side.__name__}.{name}"
    assert set(wire.METHODS) == {
        name for name, _ in inspect.getmembers(Desk, inspect.iscoroutinefunction) if name != "close"
    }


@pytest.mark.parametrize(
    "notice",
    [
        Busy(slot="A1", what=None),
        Progress(slot="A1", what="going", done=1, total=2),
        SlotTrouble(slot="A1", trouble=TROUBLE),
        SlotTrouble(slot="A1", trouble=None),
        JournalOpened(slot="A1", path="/x/A1.pcapng"),
        RunEnded(key="run-1", run=None, outcome=None, trouble=TROUBLE),
    ],
)
def test_a_notice_comes_out_as_it_went_in(notice: Any) -> None:
    raw = wire.notice_line(notice)
    assert raw.count(b"\n") == 1
    assert wire.NOTICE.validate_python(wire.parse(raw)) == notice


@given(st.text(), st.text(), st.booleans(), st.none() | st.text())
def test_arguments_come_out_as_they_went_in(slot: str, profile: str, enable: bool, code: str | None) -> None:
    method = wire.METHODS["download"]
    given_args = {"slot": slot, "source": Source(profile=profile), "confirmation_code": code, "enable": enable}
    raw = wire.request_line(1, method, given_args)
    assert raw.count(b"\n") == 1
    assert method.read_arguments(wire.parse(raw)["args"]) == given_args


def test_defaults_may_be_left_out_and_nothing_else() -> None:
    assert wire.METHODS["order"].read_arguments({"slot": "A1", "operation": "enable"}) == {
        "slot": "A1",
        "operation": "enable",
    }
    request = {"scenario": "switch", "slots": ["A1"], "params": {"profile": "x"}}
    read = wire.METHODS["start_run"].read_arguments({"request": request})
    assert read == {"request": RunRequest.model_validate(request)}
    for name, values in (("order", {"slot": "A1"}), ("answer", {"key": "k", "slot": "A1", "answer": "perhaps"})):
        with pytest.raises(DeskError):
            wire.METHODS[name].read_arguments(values)


@pytest.mark.parametrize("raw", [b"[]", b"7", b'"text"'])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="a JSON object is expected"):
        wire.parse(raw)
