"""The tab of the eIMs that the eUICC is associated with, and of what the bench's own eIM ordered (SGP.32)."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import DataTable, Label, Static

from esim_bench.desk.api import EimView, OrderView, ProfileView
from esim_bench.trace.tree import Node
from esim_bench.tui import signs
from esim_bench.tui.dialogs import Confirm
from esim_bench.tui.slot.choose import Choose
from esim_bench.tui.slot.nodetree import NodeTree
from esim_bench.tui.slot.pane import Pane
from esim_bench.tui.slot.profiles import state_sign


class EimState(NamedTuple):
    """What was read."""

    eims: Sequence[EimView]
    orders: Sequence[OrderView]


class EimPane(Pane):
    """eIMs and orders."""

    LABEL = "eIM"
    DEFAULT_CSS: ClassVar[str] = """
    EimPane Label { padding: 0 1; color: $text-muted; }
    EimPane #eims { height: 1fr; min-height: 3; }
    EimPane #orders { max-height: 50%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "order('enable')", "Order enable"),
        Binding("d", "order('disable')", "disable"),
        Binding("D", "order('delete')", "delete", key_display="D"),
        Binding("l", "order('list-profiles')", "list"),
    ]

    def __init__(self, about: Any) -> None:
        super().__init__(about)
        self.state = EimState((), ())

    def parts(self) -> ComposeResult:
        """Make both lists."""
        yield Static("", classes="empty", markup=False)
        yield Label("Associated eIMs", id="eims-title")
        yield NodeTree(id="eims")
        yield Label("Orders of the bench's eIM", id="orders-title")
        table: DataTable[Content] = DataTable(id="orders", cursor_type="row")
        for name, width in (("Order", 6), ("What", 34), ("State", 10), ("Result", 22)):
            table.add_column(name, width=width)
        yield table

    def on_mount(self) -> None:
        """Begin with nothing but a sentence."""
        self._arrange()

    def focus_main(self) -> None:
        """Put the focus where there is something."""
        if self.about.has_ipa:
            self.query_one(DataTable).focus()

    def fetch(self) -> Coroutine[Any, Any, EimState]:
        """Read both."""
        return self._fetch()

    async def _fetch(self) -> EimState:
        eims = await self.desk.eims(self.about.name)
        orders = await self.desk.orders(self.about.name) if self.about.has_ipa else []
        return EimState(eims, orders)

    def show(self, value: EimState) -> None:
        """Show both lists."""
        self.state = value
        self.query_one(NodeTree).load([_node(one) for one in value.eims], depth=1)
        self._fill(value.orders)
        self._arrange()

    def _fill(self, orders: Sequence[OrderView]) -> None:
        table: DataTable[Content] = self.query_one(DataTable)
        table.clear()
        for one in orders:
            table.add_row(Content(one.number), Content(one.what), Content(one.state), Content(one.result))
        if orders:
            table.move_cursor(row=len(orders) - 1)

    def _arrange(self) -> None:
        """Show the lists that have something in them, and a sentence for those that have not."""
        eims, orders = self.state
        sentences = []
        if self._read_at is not None and not eims:
            why = (
                "no eIM is associated with it"
                if self.about.has_ipa
                else "this eUICC is not one of SGP.32, or no eIM is associated with it"
            )
            sentences.append(f"No eIMs: {why}.")
        if not self.about.has_ipa:
            sentences.append(
                'Nothing can be ordered here: the slot has no IPA. A simulated eUICC with rsp = ["sgp32-1.2"] in the '
                "rack file, or a device with an ipa table there, has one."
            )
        elif self._read_at is not None and not orders:
            sentences.append(
                "No orders yet: e, d, D and l order something at the bench's own eIM, and the IPA polls for it at once."
            )
        empty = self.query_one(".empty", Static)
        empty.update("\n\n".join(sentences))
        empty.display = bool(sentences)
        for name, shown in (("eims", bool(eims)), ("orders", bool(orders) or self.about.has_ipa)):
            self.query_one(f"#{name}").display = shown
            self.query_one(f"#{name}-title").display = shown

    # --------------------------------------------------------------------------------------------------------- orders

    def action_order(self, operation: str) -> None:
        """Order something at the bench's eIM."""
        if not self.free():
            return
        if not self.about.has_ipa:
            self.note.say(
                "Nothing can be ordered: the slot has no IPA.",
                signs.UNKNOWN,
                "2 shows the profiles: there they are changed",
            )
            return
        self.run_worker(self._order(operation), group="ask", exclusive=True)

    async def _order(self, operation: str) -> None:
        iccid: str | None = None
        if operation != "list-profiles":
            one = await self._profile(operation)
            if one is None:
                return
            iccid = one.iccid
            if operation == "delete" and not await self.bench.ask(
                Confirm(
                    f"Order to delete {one.label}?",
                    f"ICCID {iccid} is gone for good when the eUICC has done it.",
                    word=self.about.name if self.about.view.protected else iccid[-4:],
                    yes="Order",
                )
            ):
                return
        if self.free():
            coro = self._ordered(operation, iccid)
            self.change(coro, f"Ordering {operation}", self.show)

    async def _ordered(self, operation: str, iccid: str | None) -> EimState:
        orders = await self.desk.order(self.about.name, operation, iccid)
        return EimState(await self.desk.eims(self.about.name), orders)

    async def _profile(self, operation: str) -> ProfileView | None:
        """Ask which profile is meant."""
        known = self.about.profiles
        if known is None:
            self.work(self.desk.profiles(self.about.name), "Listing profiles", self._listed(operation))
            return None
        fit = [one for one in known if operation == "delete" or (one.state == "enabled") == (operation == "disable")]
        if not fit:
            self.note.say(f"There is no profile to {operation}.", signs.UNKNOWN)
            return None
        options = [f"{state_sign(one).sign} {one.label}  {one.iccid}" for one in fit]
        number = await self.bench.ask(Choose(f"Order {operation}", "Which profile?", options))
        return fit[number] if number is not None else None

    def _listed(self, operation: str) -> Any:
        def listed(profiles: Sequence[ProfileView]) -> None:
            self.about.listed(profiles)
            self.action_order(operation)

        return listed


def _node(eim: EimView) -> Node:
    values = [
        ("FQDN", eim.fqdn),
        ("counter", "" if eim.counter is None else str(eim.counter)),
        ("association token", "" if eim.token is None else str(eim.token)),
        ("protocols", eim.protocol),
    ]
    rows = [Node(name=name, value=value) for name, value in values if value]
    return Node(name=eim.eim_id, children=[*rows, *eim.details])
