"""What a slot looks like: texts with the names of their styles, for a card and for a line."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final, TypeAlias

from rich.cells import cell_len, set_cell_size

from esim_bench.desk.api import Trouble
from esim_bench.desk.board import BAD, SlotView
from esim_bench.tui import signs

Span: TypeAlias = tuple[str, str]
"""A text and the name of its style."""

STYLES: Final = ("text", "strong", "muted", "good", "warn", "bad", "accent", "hand", "bar", "rest")
"""Names of styles, beside those of frames."""
HAND: Final = "✎"
ENABLED: Final = "◆"
SELECTED: Final = "◉"
CURSOR: Final = "▌"
CARD_WIDTH: Final = 39
CARD_HEIGHT: Final = 7
LINE_WIDTH: Final = 58
"""Cells that a line needs to say the most important things."""
_STYLES_OF: Final = {
    "text-success": "good",
    "text-error": "bad",
    "text-warning": "warn",
    "text-accent": "accent",
}
_WARNING: Final = frozenset(("denied", "not searching", "unknown", "searching", "emergency", "emergency attached"))
_SHORT: Final = {"denied": "deny", "searching": "srch", "emergency": "emer", "emergency attached": "emer"}
"""In four cells, where there would be a signal."""
_DAY: Final = 86_400


def cut(text: str, width: int) -> str:
    """Return a text in at most so many cells; what does not fit shows as "…"."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + "…" if width > 0 else ""


def line(left: list[Span], right: list[Span], width: int) -> list[Span]:
    """Put texts at both ends of a line of exactly ``width`` cells; the right end keeps its room first."""
    tail = sum(cell_len(text) for text, _ in right)
    room = max(0, width - tail - (1 if right else 0))
    if tail > width:
        right, room = [], width
        tail = 0
    spans: list[Span] = []
    for text, style in left:
        if room <= 0:
            break
        text = cut(text, room)
        room -= cell_len(text)
        spans.append((text, style))
    gap = width - tail - sum(cell_len(text) for text, _ in spans)
    if gap > 0:
        spans.append((" " * gap, "text"))
    return spans + right


def tidy(spans: Iterable[Span]) -> list[Span]:
    """Put spaces behind words, not before: some that draw pictures of terminals pass over the latter."""
    texts: list[Span] = []
    for text, style in spans:
        bare = text.lstrip(" ")
        if texts and len(bare) < len(text):
            before, its = texts[-1]
            texts[-1] = (before + text[: len(text) - len(bare)], its)
            text = bare
        if text:
            texts.append((text, style))
    return texts


def clock(at_ns: int) -> str:
    """Return a time of day, of another day the day: "14:03", "11-22"."""
    seconds = at_ns / 1e9
    form = "%H:%M" if abs(time.time() - seconds) < _DAY else "%m-%d"
    return time.strftime(form, time.localtime(seconds))


def _sign(sign: signs.Sign) -> Span:
    return sign.sign, _STYLES_OF.get(sign.colour, "muted")


def power_sign(view: SlotView) -> Span:
    """Return the sign of a slot's power."""
    return _sign({"on": signs.ON, "off": signs.OFF, "unknown": signs.UNKNOWN}[view.power])


def network(view: SlotView, *, short: bool = False) -> list[Span]:
    """Say registration and signal."""
    if not view.registration and view.signal_dbm is None:
        return []
    style = "warn" if view.registration in _WARNING else "text"
    bars = signs.signal_bars(view.signal_dbm)
    if short and style == "warn":
        return [(_SHORT.get(view.registration, "none"), "warn")]
    if short:
        return [(bars, "good" if style == "text" else "warn")]
    spans = [(view.registration, style)] if view.registration else []
    if view.signal_dbm is not None:
        spans += [(f" {bars}", "good"), (f" {view.signal_dbm} dBm", "muted")]
    return spans


def profile(view: SlotView, *, short: bool = False) -> list[Span]:
    """Say which profile is enabled."""
    enabled = view.enabled
    if enabled is not None:
        more = len(view.profiles) - 1
        return [(f"{ENABLED} ", "good"), (enabled.label, "strong"), *([(f" +{more}", "muted")] if more else [])]
    if view.profiles:
        return [(f"none of {len(view.profiles)} enabled", "warn")]
    return [("not read" if short else "profiles not read", "muted")]


def activity(view: SlotView) -> tuple[list[Span], list[Span]]:
    """Say what goes on, or how the last run ended; and how far it is, or when that was."""
    if view.activity == "run":
        left = [_sign(signs.RUNNING), (f" {view.scenario}", "accent"), (f" {view.doing}" if view.doing else "", "text")]
        return left, [*([("⇄ ", "muted")] if view.foreign else []), *_far(view)]
    if view.activity == "by hand":
        return [(f"{HAND} ", "hand"), (view.doing, "text")], _far(view)
    if not view.outcome:
        return [("no run yet", "muted")], []
    sign = _sign(signs.outcome(view.outcome))
    return [sign, (f" {view.outcome}", sign[1]), (f" {view.scenario}", "text")], [(clock(view.outcome_at_ns), "muted")]


def _far(view: SlotView) -> list[Span]:
    if view.progress is not None:
        return [("/".join(map(str, view.progress)), "muted")]
    return [(f"step {view.steps_done + 1}", "muted")] if view.activity == "run" else []


def bar(done: int, total: int, width: int) -> list[Span]:
    """Draw how much is done."""
    full = min(width, width * done // total) if total else 0
    return [("━" * full, "bar"), ("─" * (width - full), "rest")]


def complaint(view: SlotView) -> str:
    """Return what is wrong with a slot, "" for nothing."""
    if view.question:
        return f"waits for you: {view.question}"
    if view.trouble is not None:
        here = view.trouble.where == view.name
        return view.trouble.model_copy(update={"where": ""}).sentence if here else view.trouble.sentence
    return (view.reason or f"the run ended {view.outcome}") if view.problem else ""


def remedy(view: SlotView) -> str:
    """Return what to do about it."""
    if view.question:
        return "F4 takes the answer"
    if view.trouble is not None:
        return view.trouble.hint
    return "t shows the trace, F5 the run, r runs it again" if view.outcome in BAD else ""


def _last_line(view: SlotView, apdus: int, errors: int, width: int) -> list[Span]:
    wrong = complaint(view)
    if wrong:
        return line([(f"{signs.PROBLEM.sign} ", "bad"), (wrong, "bad")], [], width)
    if view.activity != "idle" and view.progress is not None:
        return bar(*view.progress, width)
    if not apdus:
        return line([], [], width)
    # Not in a colour that warns: a card or a modem may say no where the bench expects it to, and what ended says how.
    refused = f", {errors:,} error answers" if errors else ""
    return line([(f"{apdus:,} APDUs{refused}", "muted")], [], width)


def card(view: SlotView, width: int, apdus: int, errors: int) -> list[list[Span]]:
    """Return the five lines inside a card, each of exactly ``width`` cells."""
    powered = {"on": "on", "off": "off", "unknown": "power not known"}[view.power]
    proof = [(f" · {view.proof}", "muted")] if view.proof else []
    doing, far = activity(view)
    operator = [(cut(view.operator, 14), "text")] if view.operator else []
    eid = f"EID {view.eid}" if width >= 36 else view.eid
    return [
        line([power_sign(view), (f" {powered}", "text"), *proof], network(view), width),
        line(profile(view), operator, width),
        line([(eid, "muted") if view.eid else ("EID not read", "muted")], [], width),
        line(doing, far, width),
        _last_line(view, apdus, errors, width),
    ]


def title(view: SlotView, width: int, *, selected: bool) -> tuple[list[Span], list[Span]]:
    """Return what stands at the left and the right end of a card's upper edge."""
    left: list[Span] = []
    if selected:
        left.append((f"{SELECTED} ", "accent"))
    if view.problem:
        left.append((f"{signs.PROBLEM.sign} ", "bad"))
    left += [(view.name, "strong"), (f" {view.form_factor}", "text")]
    right: list[Span] = [("protected", "warn")] if view.protected else []
    room = width - sum(cell_len(text) for text, _ in (*left, *right)) - 3
    if view.module and room > 4:
        left.append((f" {cut(view.module, room)}", "muted"))
    return left, right


def one_line(view: SlotView, width: int, name_width: int, *, cursor: bool, selected: bool) -> list[Span]:
    """Return a slot in one line of exactly ``width`` cells."""
    spans: list[Span] = [
        (CURSOR if cursor else " ", "accent"),
        (SELECTED if selected else " ", "accent"),
        (signs.PROBLEM.sign if view.problem else " ", "bad"),
        (set_cell_size(cut(view.name, name_width), name_width), "strong"),
        (f" {view.form_factor:<4} ", "muted"),
        power_sign(view),
        (" ", "text"),
        *(network(view, short=True) or [("    ", "text")]),
        (" ", "text"),
    ]
    rest = width - sum(cell_len(text) for text, _ in spans)
    if rest >= 92:
        spans += line([(view.module or "-", "muted")], [], 18) + line([(view.eid or "-", "muted")], [], 33)
        rest -= 51
    if rest >= 66:
        spans += line([(view.operator or "-", "text")], [], 12)
        rest -= 12
    named = max(10, rest * 2 // 5)
    spans += [*line(profile(view, short=True), [], named - 1), (" ", "text")]
    rest -= named
    doing, far = activity(view)
    if view.question or (view.trouble is not None and view.activity == "idle"):
        doing, far = [(complaint(view), "bad")], []
    return spans + line(doing, far if rest >= 22 else [], rest)


def details(view: SlotView) -> list[Span]:
    """Say who a slot is, at length."""
    parts = [view.form_factor, view.module, f"EID {view.eid}" if view.eid else "", view.operator]
    told = " · ".join(part for part in parts if part)
    proof = f" ({view.proof})" if view.proof else ""
    where = "simulated" if view.simulated else "protected" if view.protected else "real"
    return [(view.name, "strong"), (f" {told} · {where} · power {view.power}{proof}", "text")]


def advice(view: SlotView) -> list[Span]:
    """Say what is wrong and what to do, or what goes on."""
    wrong = complaint(view)
    if wrong:
        hint = remedy(view)
        return [(f"{signs.PROBLEM.sign} {wrong}", "bad"), (f"  → {hint}" if hint else "", "text")]
    doing, far = activity(view)
    other = [("  (of another process)", "muted")] if view.foreign else []
    return [*doing, (" ", "text"), *far, *other]


def words(trouble: Trouble) -> str:
    """Say what is wrong with the watching itself."""
    return f"{signs.PROBLEM.sign} {trouble.sentence}" + (f" → {trouble.hint}" if trouble.hint else "")


def haystack(view: SlotView) -> str:
    """Return all that a slot can be found by, in small letters."""
    texts = [view.name, view.form_factor, view.module, view.eid, view.operator, view.registration]
    texts += [view.scenario, view.doing, view.activity, view.outcome, f"power {view.power}", complaint(view)]
    texts += [text for one in view.profiles for text in (one.label, one.iccid, one.provider)]
    texts += ["problem"] * view.problem + ["protected"] * view.protected + ["simulated"] * view.simulated
    return " ".join(texts).lower()
