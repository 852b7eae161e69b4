"""The tab of the profiles: their states, and everything that changes them."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import DataTable, Static

from esim_bench.desk.api import ProfileView, Trouble
from esim_bench.tui import signs
from esim_bench.tui.dialogs import Confirm, Prompt
from esim_bench.tui.slot.download import DownloadDialog
from esim_bench.tui.slot.paint import paint
from esim_bench.tui.slot.pane import Pane


def state_sign(profile: ProfileView) -> signs.Sign:
    """Return the sign of a profile's state."""
    return signs.ON if profile.state == "enabled" else signs.OFF


class ProfilesPane(Pane):
    """The profiles of the eUICC."""

    LABEL = "Profiles"
    DEFAULT_CSS: ClassVar[str] = """
    ProfilesPane #list { max-height: 60%; }
    ProfilesPane #details { height: auto; padding: 1 1 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "enable", "Enable"),
        Binding("d", "disable", "Disable"),
        Binding("D", "delete", "Delete", key_display="D"),
        Binding("n", "nickname", "Name"),
        Binding("l", "download", "Download"),
    ]

    def __init__(self, about: Any) -> None:
        super().__init__(about)
        self.profiles: Sequence[ProfileView] = ()

    def parts(self) -> ComposeResult:
        """Make list and details."""
        table: DataTable[Content] = DataTable(id="list", cursor_type="row", zebra_stripes=False)
        table.add_column("State", width=10)
        table.add_column("ICCID", width=20)
        table.add_column("Name", width=20)
        table.add_column("PLMN", width=8)
        table.add_column("Class", width=12)
        yield table
        yield Static("", id="details", markup=False)

    @property
    def table(self) -> DataTable[Content]:
        """Return the list."""
        return self.query_one(DataTable)

    @property
    def chosen(self) -> ProfileView | None:
        """Return the profile under the cursor."""
        row = self.table.cursor_row
        return self.profiles[row] if 0 <= row < len(self.profiles) else None

    def focus_main(self) -> None:
        """Put the focus on the list."""
        self.table.focus()

    def fetch(self) -> Coroutine[Any, Any, list[ProfileView]]:
        """List the profiles."""
        return self.desk.profiles(self.about.name)

    def show(self, value: Sequence[ProfileView]) -> None:
        """Show the profiles."""
        self.about.listed(value)
        self._fill(value)

    def news(self) -> None:
        """Show what the trace told meanwhile."""
        known = self.about.profiles
        if self.is_mounted and known is not None and self._read_at is not None and [*known] != [*self.profiles]:
            self._fill(known)

    def _fill(self, profiles: Sequence[ProfileView]) -> None:
        before = self.chosen
        self.profiles = [*profiles]
        table = self.table
        table.clear()
        for one in self.profiles:
            sign = state_sign(one)
            table.add_row(
                Content.assemble((f"{sign.sign} {one.state}", paint(sign))),
                Content(one.iccid),
                Content(one.label),
                Content(one.plmn),
                Content(one.profile_class),
            )
        row = next((index for index, one in enumerate(self.profiles) if before and one.iccid == before.iccid), 0)
        if self.profiles:
            table.move_cursor(row=row)
        self._details()

    @on(DataTable.RowHighlighted)
    def _moved(self) -> None:
        self._details()

    def _details(self) -> None:
        one = self.chosen
        details = self.query_one("#details", Static)
        if one is None:
            text = "No profile is installed: l downloads one." if self._read_at is not None or self.profiles else ""
            details.update(Content.styled(text, "$foreground-muted"))
            return
        rows = [
            ("nickname", one.nickname or "none: n gives one"),
            ("name", one.name),
            ("provider", one.provider),
            ("PLMN", one.plmn),
            ("class", one.profile_class),
            ("roles", ", ".join(one.roles) or "none"),
            ("policy rules", ", ".join(one.rules) or "none"),
        ]
        lines = [Content.assemble((f"{name:<14}", "$foreground-muted"), value or "–") for name, value in rows]
        details.update(Content("\n").join([Content.assemble((one.label, "bold"), f"  {one.iccid}"), *lines]))

    # -------------------------------------------------------------------------------------------------------- changes

    def failed(self, trouble: Trouble) -> None:
        """Say what went wrong; and the way that is left where an eUICC has none of its own for that (SGP.32 5.9)."""
        if self.about.has_ipa and trouble.found == "6A88":
            trouble = trouble.model_copy(
                update={"hint": "an eUICC of SGP.32 takes that from its eIM: 5, then e, d or D"}
            )
        super().failed(trouble)

    def _changed(self, profiles: list[ProfileView]) -> None:
        self.about.listed(profiles)
        self._fill(profiles)

    def _some(self) -> ProfileView | None:
        """Return the profile that is meant, if something can be done with it now."""
        if not self.free():
            return None
        if self.chosen is None:
            self.note.say("There is no profile to do that with.", signs.UNKNOWN, "l downloads one")
        return self.chosen

    def action_enable(self) -> None:
        """Enable the profile."""
        one = self._some()
        if one is None:
            return
        if one.state == "enabled":
            self.note.say(f"{one.label} is enabled already.", signs.ON)
            return
        self.change(self.desk.enable(self.about.name, one.iccid), f"Enabling {one.label}", self._changed)

    def action_disable(self) -> None:
        """Disable the profile."""
        one = self._some()
        if one is None:
            return
        if one.state != "enabled":
            self.note.say(f"{one.label} is disabled already.", signs.OFF)
            return
        self.change(self.desk.disable(self.about.name, one.iccid), f"Disabling {one.label}", self._changed)

    def action_delete(self) -> None:
        """Delete the profile, after it was typed."""
        one = self._some()
        if one is None:
            return
        if one.state == "enabled":
            self.note.say(
                f"{one.label} is enabled: an eUICC deletes disabled profiles only.", signs.PROBLEM, "d disables it"
            )
            return
        self.run_worker(self._delete(one), group="ask", exclusive=True)

    async def _delete(self, one: ProfileView) -> None:
        about = self.about
        text = (
            f"{one.label}, ICCID {one.iccid}, is gone for good then; what it was downloaded with may not serve again."
        )
        if about.view.protected:
            text += f"\n\nSlot {about.name} is protected. Its protection is lifted for this one deletion."
        word = about.name if about.view.protected else one.iccid[-4:]
        if await self.bench.ask(Confirm(f"Delete {one.label}?", text, word=word, yes="Delete")) and self.free():
            # Only what was typed lifts the protection.
            coro = self.desk.delete(about.name, one.iccid, about.view.protected)
            self.change(coro, f"Deleting {one.label}", self._changed)

    def action_nickname(self) -> None:
        """Name the profile."""
        one = self._some()
        if one is not None:
            self.run_worker(self._nickname(one), group="ask", exclusive=True)

    async def _nickname(self, one: ProfileView) -> None:
        label = f"Nickname of {one.name or one.iccid}; an empty one takes it away"
        text = await self.bench.ask(Prompt("Nickname", label, one.nickname))
        if text is not None and text.strip() != one.nickname and self.free():
            coro = self.desk.nickname(self.about.name, one.iccid, text.strip())
            self.change(coro, f"Naming {one.name or one.iccid}", self._changed)

    def action_download(self) -> None:
        """Download a profile."""
        if self.free():
            self.run_worker(self._download(), group="ask", exclusive=True)

    async def _download(self) -> None:
        wish = await self.bench.ask(DownloadDialog(self.about.name, self.bench.context.watch))
        if wish is not None and self.free():
            coro = self.desk.download(
                self.about.name, wish.source, wish.confirmation_code or None, wish.enable, wish.cut_after
            )
            self.change(coro, "Downloading a profile", self._changed)
