"""Any sequence of orders, polls, lost answers, repetitions, crashes and cancellations: the eIM's account stays true."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esim_bench.codec.esipa_objects import acknowledged
from esim_bench.codec.euicc_operations import Delete, Disable, Enable, ListProfileInfo
from esim_bench.codec.euicc_package import EuiccPackageRequest
from esim_bench.servers.eim import DataOrder, OrderState, PackageOrder, View

STEPS = ["list", "enable", "disable", "delete", "data", "get", "execute", "provide", "again", "ack", "crash", "cancel"]


class World:
    """One eUICC behind a way that loses, repeats and reorders whatever it likes."""

    def __init__(self, bench, shapes):
        self.bench = bench
        self.shapes = shapes
        self.ipa = bench.ipa(bench.euicc(known=False))
        self.eid = self.ipa.euicc.eid
        self.fetched = []
        self.results = []
        self.accepted = []
        self.requests = {}

    def step(self, name, choice):
        eim, profile = self.bench.eim, (self.shapes.FIRST, self.shapes.SECOND)[choice % 2]
        match name:
            case "list":
                eim.order(self.eid, PackageOrder((ListProfileInfo(),)))
            case "enable":
                eim.order(self.eid, PackageOrder((Enable(profile),)))
            case "disable":
                eim.order(self.eid, PackageOrder((Disable(profile), ListProfileInfo())))
            case "delete":
                eim.order(self.eid, PackageOrder((Delete(b"\x98" * 10),)))
            case "data":
                eim.order(self.eid, DataOrder((0x81,)))
            case "get":
                self.get()
            case "execute" if self.fetched:
                self.execute(self.fetched[choice % len(self.fetched)])
            case "provide" | "again" if self.results:
                self.provide(self.results[choice % len(self.results)])
            case "ack":
                for seq in self.accepted:
                    self.ipa.euicc.stored.pop(seq, None)
            case "crash":
                self.bench.restart()
            case "cancel":
                orders = [order for order in eim.orders(self.eid) if order.state.open]
                if orders:
                    eim.cancel(orders[choice % len(orders)].id)

    def get(self):
        fields = self.ipa.get()
        if "eimPackageError" in fields:
            return False
        self.fetched.append(fields)
        package = fields.get("euiccPackageRequest")
        if package is not None:
            counter = EuiccPackageRequest.parse(package).counter
            # A counterValue never goes out with other bytes.
            assert self.requests.setdefault(counter, package) == package
        return True

    def execute(self, fields):
        package = fields.get("euiccPackageRequest")
        before = self.ipa.euicc.counter
        self.results.append(self.ipa.answer(fields))
        if package is not None and self.ipa.euicc.counter > before:
            assert EuiccPackageRequest.parse(package).counter > before

    def provide(self, result):
        answer = self.ipa.provide(result)
        self.accepted += acknowledged(answer.get("eimAcknowledgements", b"\xbf\x53\x00"))

    def drain(self):
        """The way is good from now on: everything comes to an end."""
        for _ in range(200):
            if not self.get():
                return
            self.execute(self.fetched[-1])
            self.provide(self.results[-1])
        raise AssertionError("the eIM never comes to an end")

    def check(self):
        euicc, orders = self.ipa.euicc, self.bench.eim.orders(self.eid)
        assert len([order for order in orders if order.state is OrderState.SENT]) <= 2
        counters = [order.counter for order in orders if order.counter is not None]
        assert len(set(counters)) == len(counters)
        for order in orders:
            if order.state is OrderState.DONE and order.kind == "package":
                assert order.verified
                assert [result.code for result in order.results] == [0] * len(order.operations)
        kept = {record.seq for record in self.bench.store.results(self.eid)}
        # What was acknowledged, the eIM has.
        assert set(self.accepted) <= kept
        assert euicc.counter < self.bench.eim.device(self.eid).counter


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7)), max_size=40))
def test_the_account_stays_true(bench_of, shapes, steps):
    world = World(bench_of(), shapes)
    for name, choice in steps:
        world.step(name, choice)
        world.check()
    world.drain()
    world.check()
    orders = world.bench.eim.orders(world.eid)
    assert not [order for order in orders if order.state.open]
    # With a whole list at the end, the view is the truth.
    world.bench.eim.order(world.eid, PackageOrder((ListProfileInfo(),)))
    world.drain()
    view = world.bench.eim.view(world.eid)
    assert {profile.iccid: profile.state == "enabled" for profile in view.profiles} == {
        iccid: bool(state) for iccid, state in world.ipa.euicc.profiles.items()
    }
    assert View.from_json(view.to_json()) == view
