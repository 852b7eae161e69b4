"""A run as JUnit XML, as CI systems read it: a test suite per slot, a test case per step."""

from __future__ import annotations

import re
from typing import Any, Final
from xml.etree import ElementTree as ET

# XML 1.0 allows no other control characters, no surrogates, no FFFE and FFFF, not even as references.
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_RESULTS: Final = {
    "FAIL": "failure",
    "TIMEOUT": "failure",
    "ERROR": "error",
    "ABORTED": "error",
    "SKIPPED": "skipped",
}


def junit(run_document: dict[str, Any]) -> str:
    """Return a run document (the shape of ``run --json``) as one JUnit XML document.

    FAIL and TIMEOUT are failures (the device), ERROR and ABORTED errors (the bench, the operator), SKIPPED is skipped;
    the outcome's own name is the ``type`` attribute.
    """
    root = ET.Element("testsuites", {"name": "esim-bench"})
    total = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    seconds = 0.0
    for slot in run_document.get("slots") or ():
        suite = _suite(run_document, slot)
        root.append(suite)
        for key in total:
            total[key] += int(suite.get(key, "0"))
        seconds += _number(slot.get("seconds"))
    root.attrib.update({key: str(value) for key, value in total.items()})
    root.set("time", f"{seconds:.6f}")
    ET.indent(root)
    # Plain ASCII with references: right in whatever encoding the caller writes it.
    body = ET.tostring(root, encoding="us-ascii").decode("ascii")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _suite(run: dict[str, Any], slot: dict[str, Any]) -> ET.Element:
    name = str(slot.get("slot", ""))
    scenario = str(slot.get("scenario") or run.get("scenario") or "scenario")
    repetition = slot.get("repetition", 1)
    suite = ET.Element("testsuite", {"name": clean(name if repetition == 1 else f"{name} #{repetition}")})
    cases = list(slot.get("steps") or ())
    outcome = str(slot.get("outcome", ""))
    if not cases or (outcome in _RESULTS and all(step.get("outcome") in ("PASS", "SKIPPED") for step in cases)):
        # What went wrong (or was skipped) outside of every step must not look like success.
        known = {step.get("outcome") for step in cases}
        if not cases or outcome not in known:
            cases.append({"name": scenario, "outcome": outcome, "seconds": 0.0, "detail": slot.get("detail", "")})
    counts = {"tests": len(cases), "failures": 0, "errors": 0, "skipped": 0}
    keys = {"failure": "failures", "error": "errors", "skipped": "skipped"}
    properties = ET.SubElement(suite, "properties")
    about = {
        "run": run.get("run"),
        "seed": run.get("seed"),
        "form_factor": slot.get("form_factor"),
        "outcome": outcome,
        "trace": slot.get("trace"),
        "apdus": slot.get("apdus"),
        **_device(slot.get("device") or {}),
    }
    for key, value in about.items():
        if value is not None:
            ET.SubElement(properties, "property", {"name": key, "value": clean(str(value))})
    for step in cases:
        result = _case(suite, f"{scenario}.{name}", step)
        if result is not None:
            counts[keys[result]] += 1
    suite.attrib.update({key: str(value) for key, value in counts.items()})
    suite.set("time", f"{_number(slot.get('seconds')):.6f}")
    started = str(run.get("started") or "")
    if found := re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", started):
        suite.set("timestamp", found[0])
    suite.set("hostname", "localhost")
    return suite


def _device(device: dict[str, Any]) -> dict[str, Any]:
    """Return who the device was: nobody compares the runs of two firmwares without knowing it."""
    euicc, modem = device.get("euicc") or {}, device.get("modem") or {}
    return {
        "eid": device.get("eid"),
        "atr": device.get("atr"),
        "euicc_firmware": euicc.get("firmware"),
        "modem": " ".join(filter(None, (modem.get("manufacturer"), modem.get("model")))) or None,
        "revision": modem.get("revision"),
        "imei": modem.get("imei"),
    }


def _case(suite: ET.Element, class_name: str, step: dict[str, Any]) -> str | None:
    """Add a test case; return the name of its result element, None for PASS."""
    outcome = str(step.get("outcome", ""))
    detail = clean(str(step.get("detail") or ""))
    case = ET.SubElement(
        suite,
        "testcase",
        {
            "classname": clean(class_name),
            "name": clean(str(step.get("name", ""))),
            "time": f"{_number(step.get('seconds')):.6f}",
        },
    )
    if outcome == "PASS":
        if detail:
            ET.SubElement(case, "system-out").text = detail
        return None
    # The outcomes are a closed set; a name from elsewhere must not look like success.
    result = _RESULTS.get(outcome, "error")
    element = ET.SubElement(case, result, {"message": detail.partition("\n")[0] or outcome})
    if result != "skipped":
        element.set("type", clean(outcome) or "unknown")
        element.text = detail or outcome
    return result


def clean(text: str) -> str:
    """Return text with what XML cannot hold made visible: ``\\x1b`` for an escape."""
    return _FORBIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
