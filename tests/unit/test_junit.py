"""JUnit XML of a run."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from esim_bench.report.junit import junit


def slot(name: str, outcome: str, steps: list[tuple[str, str, str]]) -> dict[str, Any]:
    return {
        "slot": name,
        "form_factor": "4FF",
        "scenario": "switch",
        "outcome": outcome,
        "seconds": 2.5,
        "steps": [{"name": n, "outcome": o, "seconds": 0.5, "detail": d} for n, o, d in steps],
        "trace": f"/runs/x/{name}.pcapng",
        "apdus": 99,
    }


def parse(*slots: dict[str, Any]) -> ET.Element:
    document = {"run": "r1", "outcome": "FAIL", "seed": 7, "started": "2026-01-01T00:00:00.5Z", "slots": list(slots)}
    return ET.fromstring(junit(document).encode())


def test_a_suite_per_slot_and_a_case_per_step() -> None:
    root = parse(
        slot("A1", "FAIL", [("read", "PASS", "EID 89"), ("enable", "FAIL", "expected 9000, found 6985")]),
        slot("B1", "PASS", [("read", "PASS", "")]),
    )
    assert [suite.get("name") for suite in root] == ["A1", "B1"]
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("3", "1", "0")
    read, enable = root[0].findall("testcase")
    assert (read.get("classname"), read.get("name"), read.get("time")) == ("switch.A1", "read", "0.500000")
    assert read.find("failure") is None
    failure = enable.find("failure")
    assert failure is not None
    assert (failure.get("type"), failure.get("message")) == ("FAIL", "expected 9000, found 6985")
    assert root[0].get("timestamp") == "2026-01-01T00:00:00"


def test_each_outcome_has_its_element() -> None:
    outcomes = ["PASS", "FAIL", "TIMEOUT", "ERROR", "ABORTED", "SKIPPED"]
    root = parse(slot("A1", "ABORTED", [(name, name, "why") for name in outcomes]))
    elements = {}
    for case in root.iter("testcase"):
        elements[case.get("name")] = [child.tag for child in case if child.tag != "system-out"]
    assert elements == {
        "PASS": [],
        "FAIL": ["failure"],
        "TIMEOUT": ["failure"],
        "ERROR": ["error"],
        "ABORTED": ["error"],
        "SKIPPED": ["skipped"],
    }
    suite = root[0]
    counts = [suite.get(key) for key in ("tests", "failures", "errors", "skipped")]
    assert counts == ["6", "2", "2", "1"]


def test_a_slot_that_failed_outside_of_its_steps_is_not_a_success() -> None:
    root = parse(slot("A1", "ERROR", [("read", "PASS", "")]), slot("B1", "SKIPPED", []))
    assert (root.get("tests"), root.get("errors"), root.get("skipped")) == ("3", "1", "1")
    assert [case.get("name") for case in root.iter("testcase")] == ["read", "switch", "switch"]


def test_control_characters_are_made_visible() -> None:
    root = parse(slot("A1", "FAIL", [("at", "FAIL", "modem said \x00\x1b[31m\ud800 <&>\"'")]))
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.text == "modem said \\x00\\x1b[31m\\ud800 <&>\"'"


@given(st.text(), st.text(), st.sampled_from(["PASS", "FAIL", "SKIPPED", "NEW"]))
def test_any_text_gives_valid_xml(name: str, detail: str, outcome: str) -> None:
    root = parse(slot("A1", outcome, [(name, outcome, detail)]))
    assert len(list(root.iter("testcase"))) == 1


def test_repetitions_are_told_apart() -> None:
    again = slot("A1", "PASS", [("read", "PASS", "")]) | {"repetition": 2}
    assert [suite.get("name") for suite in parse(slot("A1", "PASS", []), again)] == ["A1", "A1 #2"]
