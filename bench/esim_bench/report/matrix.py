"""Which module gets along with which eUICC: what the runs of the history say, as text, JSON and HTML.

Nobody's claim is repeated here. A cell is what came of a scenario the last time that it was run on such a pair, and how
often before; what a module's row in hw/modules expects stands beside it.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from esim_bench import data
from esim_bench.errors import ConfigError

IN_READER: Final = "(in a reader)"
UNKNOWN: Final = "unknown"
EUM_DIGITS: Final = 8
"""Of an EID: these identify who made the eUICC (SGP.29); the rest tells single cards apart."""
_BETTER: Final = ("PASS", "SKIPPED")
Known = Callable[[str], "data.Dialect | None"]


@dataclass(slots=True)
class Cell:
    """A scenario on one pair of module and eUICC."""

    module: str
    euicc: str
    scenario: str
    simulated: bool
    outcomes: dict[str, int] = field(default_factory=dict)
    """How often each outcome came."""
    last: str = ""
    last_run: str = ""
    last_started: str = ""
    detail: str = ""
    """Of the last run: what the step said that did not pass."""
    expected: str = ""
    """What the module's row says: "works", or "none: " and the cause; "" where there is no row."""

    @property
    def runs(self) -> int:
        """Return how many runs there were."""
        return sum(self.outcomes.values())

    @property
    def unexpected(self) -> bool:
        """Tell whether the last run contradicts the module's row."""
        if not self.expected or self.last not in ("PASS", "FAIL"):
            return False
        return (self.last == "PASS") != (self.expected == "works")

    def document(self) -> dict[str, Any]:
        """Return the cell as JSON values."""
        return {
            "module": self.module,
            "euicc": self.euicc,
            "scenario": self.scenario,
            "simulated": self.simulated,
            "runs": self.runs,
            "outcomes": dict(sorted(self.outcomes.items())),
            "last": self.last,
            "last_run": self.last_run,
            "last_started": self.last_started,
            "detail": self.detail,
            "expected": self.expected,
            "unexpected": self.unexpected,
        }


def matrix(documents: Iterable[Mapping[str, Any]], known: Known | None = None) -> list[Cell]:
    """Return the cells of finished runs, sorted by module, eUICC and scenario; real ones before simulated ones.

    ``documents``: as ``run --json`` prints them, in any order; ``known`` finds a module's row by its name.
    """
    find = known or _row
    cells: dict[tuple[str, str, str, bool], Cell] = {}
    ordered = sorted(documents, key=lambda one: (str(one.get("started", "")), str(one.get("run", ""))))
    for run in ordered:
        for slot in run.get("slots") or ():
            outcome = slot.get("outcome")
            if not outcome:
                continue
            device = slot.get("device") or {}
            simulated = "sim" in ((slot.get("bench") or {}).get("drivers") or {})
            module, row = _module(device, find)
            key = (module, _euicc(device, slot.get("bench") or {}), str(slot.get("scenario", "")), simulated)
            cell = cells.setdefault(key, Cell(*key))
            cell.outcomes[outcome] = cell.outcomes.get(outcome, 0) + 1
            cell.last, cell.last_run, cell.last_started = outcome, str(run["run"]), str(run.get("started", ""))
            cell.detail = _detail(slot)
            cell.expected = _expected(row)
    return sorted(cells.values(), key=lambda cell: (cell.simulated, cell.module, cell.euicc, cell.scenario))


def _row(name: str) -> data.Dialect | None:
    try:
        return data.module(name)
    except ConfigError:
        # A file that is gone since: the run stays what it was.
        return None


def _module(device: Mapping[str, Any], find: Known) -> tuple[str, data.Dialect | None]:
    """Return what a module is called: as it said itself, else as its row says; and its row."""
    name = device.get("module")
    row = find(str(name)) if name else None
    said = device.get("modem") or {}
    words = [str(said[key]) for key in ("manufacturer", "model", "revision") if said.get(key) not in (None, UNKNOWN)]
    if words:
        return " ".join(words), row
    if row is not None:
        return f"{row.manufacturer} {row.model}", row
    return (str(name) if name else IN_READER), row


def _euicc(device: Mapping[str, Any], bench: Mapping[str, Any]) -> str:
    """Return what an eUICC is called: its maker's digits of the EID, firmware, ATR, form factor; never a whole EID."""
    words = []
    if eid := device.get("eid"):
        words.append(f"EID {str(eid)[:EUM_DIGITS]}...")
    if personality := bench.get("personality"):
        words.append(str(personality))
    euicc = device.get("euicc") or {}
    words += [f"{text} {euicc[key]}" for key, text in (("sgp22", "SGP.22"), ("firmware", "firmware")) if euicc.get(key)]
    if atr := device.get("atr"):
        words.append(f"ATR {atr}")
    if form := device.get("form_factor"):
        words.append(str(form))
    return " ".join(words) or UNKNOWN


def _detail(slot: Mapping[str, Any]) -> str:
    for step in slot.get("steps") or ():
        if step.get("outcome") not in _BETTER:
            return f"{step.get('name', '')}: {step.get('detail', '')}".strip(": ")
    return ""


def _expected(row: data.Dialect | None) -> str:
    if row is None:
        return ""
    return "works" if row.expect.access == "works" else f"none: {row.expect.cause}"


# ---------------------------------------------------------------------------------------------------------------- text

HEAD: Final = ("module", "eUICC", "scenario", "last", "runs", "expected", "")


def rows(cells: Iterable[Cell]) -> list[tuple[str, ...]]:
    """Return the cells as rows of a table under ``HEAD``."""
    return [
        (
            cell.module,
            cell.euicc,
            cell.scenario,
            cell.last,
            ", ".join(f"{number} {name}" for name, number in sorted(cell.outcomes.items())),
            cell.expected or "-",
            " ".join(_flags(cell)),
        )
        for cell in cells
    ]


def _flags(cell: Cell) -> list[str]:
    return [text for text, wanted in (("simulated", cell.simulated), ("unexpected", cell.unexpected)) if wanted]


# ---------------------------------------------------------------------------------------------------------------- HTML

_STYLE: Final = (
    "body{font:14px system-ui,sans-serif;margin:2em}table{border-collapse:collapse}"
    "th,td{border:1px solid #bbb;padding:.3em .6em;text-align:left;vertical-align:top}"
    ".PASS{background:#d8f0d8}.FAIL{background:#f5d2d2}.ERROR,.ABORTED{background:#ead6f0}.TIMEOUT{background:#f7ecc8}"
    ".sim{color:#666;font-style:italic}"
)


def page(cells: Iterable[Cell], *, title: str = "Modules and eUICCs") -> str:
    """Return one HTML page: pairs of module and eUICC as rows, scenarios as columns. Needs nothing from elsewhere."""
    cells = list(cells)
    scenarios = sorted({cell.scenario for cell in cells})
    pairs: dict[tuple[bool, str, str], dict[str, Cell]] = {}
    for cell in cells:
        pairs.setdefault((cell.simulated, cell.module, cell.euicc), {})[cell.scenario] = cell
    lines = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title><style>{_STYLE}</style></head>',
        f"<body><h1>{_text(title)}</h1>",
        "<p>What came of the last run of each scenario, and how often; from runs alone.</p>",
        f"<table><tr><th>module</th><th>eUICC</th><th>expected</th>{''.join(f'<th>{_text(s)}</th>' for s in scenarios)}"
        "</tr>",
    ]
    for (simulated, module, euicc), by_scenario in pairs.items():
        expected = next((cell.expected for cell in by_scenario.values() if cell.expected), "")
        mark = ' <span class="sim">(simulated)</span>' if simulated else ""
        line = f"<tr><td>{_text(module)}{mark}</td><td>{_text(euicc)}</td><td>{_text(expected)}</td>"
        line += "".join(_html_cell(by_scenario.get(scenario)) for scenario in scenarios)
        lines.append(line + "</tr>")
    lines.append("</table></body></html>")
    return "\n".join(lines) + "\n"


def _html_cell(cell: Cell | None) -> str:
    if cell is None:
        return "<td></td>"
    counts = ", ".join(f"{number} {name}" for name, number in sorted(cell.outcomes.items()))
    more = " <b>unexpected</b>" if cell.unexpected else ""
    title = html.escape(f"{cell.last_run} {cell.last_started} {cell.detail}".strip(), quote=True)
    return (
        f'<td class="{html.escape(cell.last, quote=True)}" title="{title}">{_text(cell.last)}{more}'
        f"<br><small>{_text(counts)}</small></td>"
    )


def _text(text: str) -> str:
    return html.escape("".join(character if character.isprintable() else "?" for character in text))
