"""What all tabs of a slot have in common: reading when first shown, a line for what goes on or went wrong."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from esim_bench.desk.api import DeskError, Trouble
from esim_bench.tui import signs
from esim_bench.tui.slot.about import About
from esim_bench.tui.slot.paint import paint

if TYPE_CHECKING:
    from esim_bench.desk.api import Desk
    from esim_bench.tui.app import BenchApp

T = TypeVar("T")


class Note(Static):
    """A line or two: what is being done, what went wrong and what to do next; gone when there is nothing to say."""

    DEFAULT_CSS: ClassVar[str] = """
    Note { height: auto; max-height: 6; padding: 0 1; background: $surface; display: none; }
    Note.-shown { display: block; }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self.text = ""

    def say(self, text: str, sign: signs.Sign | None = None, hint: str = "") -> None:
        """Show a sentence, and what to do next; "" shows nothing."""
        self.text = f"{text} → {hint}" if hint else text
        self.set_class(bool(text), "-shown")
        parts: list[Content | str | tuple[str, str]] = []
        if sign is not None:
            parts.append((f"{sign.sign} ", paint(sign)))
        parts.append((text, "" if sign is not None else "$foreground-muted"))
        if hint:
            parts += ["\n", ("→ ", "$text-accent"), hint]
        self.update(Content.assemble(*parts))


class Pane(Vertical):
    """One tab. A subclass makes its parts, says how it is read (``fetch``) and what is shown of it (``show``)."""

    LABEL: ClassVar[str] = ""
    ALWAYS_NEW: ClassVar[bool] = True
    """Read again when it is shown after something has changed the card."""
    DEFAULT_CSS: ClassVar[str] = """
    Pane { height: 1fr; }
    Pane DataTable { height: auto; max-height: 100%; background: $background; }
    Pane .empty { height: auto; padding: 1 2; color: $text-muted; }
    """

    class Done(Message):
        """Something was done or read: the slot may be known better, or be another one."""

        def __init__(self, pane: Pane) -> None:
            self.pane = pane
            super().__init__()

    def __init__(self, about: About) -> None:
        super().__init__(id=f"pane-{self.LABEL.lower()}")
        self.about = about
        self.working = ""
        """What it has asked the desk for and waits for."""
        self._read_at: int | None = None
        """Version of the slot that is shown; None: nothing is."""
        self._refused = False

    @property
    def desk(self) -> Desk:
        """Return who works on the slot."""
        return self.about.bench.context.desk

    @property
    def bench(self) -> BenchApp:
        """Return the app, with its type."""
        return cast("BenchApp", self.app)

    @property
    def alive(self) -> bool:
        """Tell whether the tab is there, all of it: it may be on its way in or out."""
        return self.is_attached and self.is_mounted and bool(self.query(Note))

    @property
    def note(self) -> Note:
        """Return the line for what goes on."""
        return self.query_one(Note)

    def compose(self) -> ComposeResult:
        """Put the line above the parts."""
        yield Note()
        yield from self.parts()

    # ------------------------------------------------------------------------------------------- for the subclasses

    def parts(self) -> ComposeResult:
        """Make the widgets."""
        yield from ()

    def fetch(self) -> Coroutine[Any, Any, Any] | None:
        """Return what reads the tab's contents; None where there is nothing to be read."""
        return None

    def show(self, value: Any) -> None:
        """Show what was read."""

    def news(self) -> None:
        """Take in that the slot's view is another one."""

    def focus_main(self) -> None:
        """Put the focus where one works."""

    # --------------------------------------------------------------------------------------------------- reading

    @property
    def wanted(self) -> bool:
        """Tell whether reading makes sense without having been asked to."""
        return self._read_at is None or (self.ALWAYS_NEW and self._read_at != self.about.version)

    def shown(self) -> None:
        """Take it that the tab is looked at now."""
        self.focus_main()
        self.catch_up()

    def catch_up(self) -> None:
        """Read what is not there yet, unless a run has the slot, or it was refused just now."""
        if self.about.in_run:
            if self.wanted and not self.working:
                whose = "a run of another process" if self.about.view.foreign else "a run"
                self.note.say(
                    f"The slot belongs to {whose} ({self.about.view.scenario}): it is read when that is over.",
                    signs.RUNNING,
                    "t shows what it does",
                )
                self._refused = False
            return
        if not self.wanted or self.working or self._refused:
            return
        if self.about.power.state == "off":
            self.note.say("The slot has no power: nothing can be read.", signs.OFF, "o, then n gives it back")
            self._refused = True
            return
        self.reload()

    def reload(self) -> None:
        """Read again."""
        if self.working:
            return
        reading = self.fetch()
        if reading is None:
            self._read_at = self.about.version
            return
        version = self.about.version

        def done(value: Any) -> None:
            self._read_at = version
            self.show(value)

        self.work(reading, f"Reading {self.about.name}", done)

    def forgive(self) -> None:
        """Take it that the reason may be gone for which reading was refused."""
        self._refused = False

    # ------------------------------------------------------------------------------------------------ working

    def free(self) -> bool:
        """Tell whether something can be begun; say why not."""
        if self.working:
            self.bench.notify(f"{self.working} goes on; o can cut the power under it.", title=self.about.name)
            return False
        return True

    def work(self, coro: Coroutine[Any, Any, T], what: str, done: Callable[[T], None]) -> None:
        """Have the desk do something; what goes wrong is said in place.

        It goes on when the tab is left; then what goes wrong is said as the app says it.
        """
        self.working = what
        self.note.say(f"{what} …", signs.RUNNING)

        async def run() -> None:
            try:
                result = await coro
            except DeskError as exc:
                self.working = ""
                self.failed(exc.trouble)
            else:
                self.working = ""
                if self.alive:
                    self.note.say("")
                    self._refused = False
                    done(result)
                    self.post_message(self.Done(self))

        self.about.bench.run_worker(run(), name=what, group="jobs", exit_on_error=True)

    def change(self, coro: Coroutine[Any, Any, T], what: str, done: Callable[[T], None]) -> None:
        """Have the desk do something after which the card is another one; ``done`` shows what is to be seen here."""

        def changed(result: T) -> None:
            self.about.changed()
            self._read_at = self.about.version
            done(result)

        async def done_or_not() -> T:
            try:
                return await coro
            except DeskError:
                # It may have gone half of its way.
                self.about.changed()
                raise

        self.work(done_or_not(), what, changed)

    def failed(self, trouble: Trouble) -> None:
        """Say what went wrong, and what to do next."""
        self._refused = True
        bench = self.about.bench
        if self.alive and self.display:
            self.note.say(trouble.sentence, signs.PROBLEM, trouble.hint or "r reads again")
        if self.alive and self.display and self.screen.is_active:
            bench.problems.add(trouble)
        else:
            bench.problem(trouble)
