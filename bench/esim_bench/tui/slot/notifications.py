"""The tab of the notifications that wait in the eUICC for their SM-DP+ (SGP.22 3.5)."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import DataTable, Static

from esim_bench.desk.api import NotificationView
from esim_bench.tui import signs
from esim_bench.tui.dialogs import Confirm
from esim_bench.tui.slot.pane import Pane


class NotificationsPane(Pane):
    """The list."""

    LABEL = "Notifications"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "send", "Send"),
        Binding("D", "remove", "Remove", key_display="D"),
    ]

    def __init__(self, about: Any) -> None:
        super().__init__(about)
        self.waiting: Sequence[NotificationView] = ()

    def parts(self) -> ComposeResult:
        """Make the list."""
        table: DataTable[Content] = DataTable(id="list", cursor_type="row")
        for name, width in (("Number", 7), ("Operation", 10), ("ICCID", 20), ("To", 34)):
            table.add_column(name, width=width)
        yield table
        yield Static("", classes="empty", markup=False)

    @property
    def table(self) -> DataTable[Content]:
        """Return the list."""
        return self.query_one(DataTable)

    def focus_main(self) -> None:
        """Put the focus on the list."""
        self.table.focus()

    def fetch(self) -> Coroutine[Any, Any, list[NotificationView]]:
        """List the notifications."""
        return self.desk.notifications(self.about.name)

    def show(self, value: Sequence[NotificationView]) -> None:
        """Show the list."""
        self.waiting = [*value]
        table = self.table
        row = table.cursor_row
        table.clear()
        for one in value:
            table.add_row(Content(str(one.seq)), Content(one.operation), Content(one.iccid), Content(one.address))
        if value:
            table.move_cursor(row=min(row, len(value) - 1))
        self.query_one(".empty", Static).update(
            "s delivers the chosen one to its SM-DP+, and removes it; D removes it undelivered."
            if value
            else "No notification waits: each was delivered, or none was made. Enabling, disabling, deleting and "
            "downloading make them."
        )

    def _chosen(self) -> NotificationView | None:
        if not self.free():
            return None
        row = self.table.cursor_row
        if 0 <= row < len(self.waiting):
            return self.waiting[row]
        self.note.say("No notification waits.", signs.UNKNOWN)
        return None

    def action_send(self) -> None:
        """Deliver the notification."""
        one = self._chosen()
        if one is not None:
            coro = self.desk.send_notification(self.about.name, one.seq)
            self.change(coro, f"Sending notification {one.seq} to {one.address}", self.show)

    def action_remove(self) -> None:
        """Remove the notification undelivered."""
        one = self._chosen()
        if one is not None:
            self.run_worker(self._remove(one), group="ask", exclusive=True)

    async def _remove(self, one: NotificationView) -> None:
        text = f"{one.address or 'Its SM-DP+'} will never hear of this {one.operation} of {one.iccid or 'a profile'}."
        if await self.bench.ask(Confirm(f"Remove notification {one.seq}?", text, yes="Remove")) and self.free():
            coro = self.desk.remove_notification(self.about.name, one.seq)
            self.change(coro, f"Removing notification {one.seq}", self.show)
