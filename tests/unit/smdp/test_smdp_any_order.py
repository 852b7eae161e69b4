"""Any order of ES9+ calls by several eUICCs in several sessions: what an order promises holds throughout."""

import copy
import hashlib
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

CODE = "4711"
ORDERS: dict[str, dict[str, Any]] = {
    "ONE": {"max_downloads": 4},
    "CODE": {"confirmation_code": CODE, "max_cc_failures": 3},
    "TEST": {"test_order": True},
    "MINE": {},
}
OWNER = 1
"""Who MINE is for."""
DONE = ("Installed", "Enabled", "Disabled", "Deleted")


class Es9(RuleBasedStateMachine):
    """Three eUICCs, each with any number of sessions, at one SM-DP+."""

    make_bench: ClassVar[Any]
    tools: ClassVar[Any]
    euiccs: ClassVar[list[Any]]
    reached: ClassVar[set[str]]

    @initialize()
    def release(self) -> None:
        self.bench = self.make_bench()
        for name, options in ORDERS.items():
            more = {"eid": self.euiccs[OWNER].eid} if name == "MINE" else {}
            self.bench.release(name, **options, **more)
        self.sessions: list[dict[str, Any]] = []
        self.delivered: dict[str, set[int]] = {name: set() for name in ORDERS}
        self.attempts = dict.fromkeys(ORDERS, 0)
        self.wrong_codes = dict.fromkeys(ORDERS, 0)
        self.done: dict[str, int] = {}

    def pick(self, number: int) -> dict[str, Any]:
        return self.sessions[number % len(self.sessions)]

    @rule(who=st.integers(0, 2))
    def initiate(self, who: int) -> None:
        euicc = copy.copy(self.euiccs[who])
        euicc.challenge = hashlib.sha256(f"{who} {len(self.sessions)}".encode()).digest()[:16]
        answer = self.bench.initiate(euicc)
        assert answer.status == self.tools.EXECUTED
        assert answer["transactionId"] not in [one["id"] for one in self.sessions]
        self.sessions.append(
            {"who": who, "euicc": euicc, "id": answer["transactionId"], "opened": answer, "stage": "open"}
        )

    @precondition(lambda self: self.sessions)
    @rule(number=st.integers(0, 9), name=st.sampled_from([*ORDERS, "NONE"]))
    def authenticate(self, number: int, name: str) -> None:
        session = self.pick(number)
        if "request" in session:
            return
        response = session["euicc"].authenticate(session["opened"], name)
        answer = self.bench.call("authenticateClient", transactionId=session["id"], authenticateServerResponse=response)
        self.reached.add(f"authenticate {answer.code}")
        if answer.status != self.tools.EXECUTED:
            return
        assert session["stage"] == "open"
        session |= {"stage": "authenticated", "order": name, "answer": answer, "request": response}
        self.attempts[name] += 1
        assert name != "MINE" or session["who"] == OWNER
        assert self.delivered[name] <= {session["who"]} or name == "TEST"
        assert name not in self.done or name == "TEST", "an order that is over was offered again"

    @precondition(lambda self: any("request" in one for one in self.sessions))
    @rule(number=st.integers(0, 9))
    def authenticate_again(self, number: int) -> None:
        """The same request once more has the same answer, or none: it counts once."""
        session = self.pick(number)
        if "request" in session:
            fields = {"transactionId": session["id"], "authenticateServerResponse": session["request"]}
            answer = self.bench.call("authenticateClient", **fields)
            assert answer.status != self.tools.EXECUTED or dict(answer) == dict(session["answer"])

    @precondition(lambda self: any("answer" in one for one in self.sessions))
    @rule(number=st.integers(0, 9), code=st.sampled_from([None, CODE, CODE, "0000"]))
    def bind(self, number: int, code: str | None) -> None:
        session = self.pick(number)
        if "answer" not in session:
            return
        name, who = session["order"], session["who"]
        response = session["euicc"].prepare(session["answer"], code)
        answer = self.bench.call(
            "getBoundProfilePackage", transactionId=session["id"], prepareDownloadResponse=response
        )
        self.reached.add(f"bind {answer.code}")
        if answer.status == self.tools.EXECUTED:
            assert session["stage"] == "authenticated"
            assert name != "CODE" or code == CODE
            assert name != "CODE" or self.wrong_codes[name] < 3
            assert session["euicc"].unbind(answer["boundProfilePackage"]).upp == self.tools.package()
            session["stage"] = "bound"
            self.delivered[name].add(who)
        elif answer.code in ("8.2.7/3.8", "8.2.7/6.4"):
            self.wrong_codes[name] += code is not None

    @precondition(lambda self: self.sessions)
    @rule(number=st.integers(0, 9), reason=st.sampled_from([0, 1, 2, 3, 127]))
    def cancel(self, number: int, reason: int) -> None:
        session = self.pick(number)
        if not session["euicc"].transaction_id:
            return
        answer = self.bench.cancel(session["euicc"], session["id"], reason=reason)
        self.reached.add(f"cancel {answer.code}")
        if answer.status == self.tools.EXECUTED:
            session["stage"] = "over"

    @precondition(lambda self: any(one["stage"] == "bound" for one in self.sessions))
    @rule(number=st.integers(0, 9), error=st.sampled_from([None, None, 9, 10, 12]))
    def result(self, number: int, error: int | None) -> None:
        bound = [one for one in self.sessions if one["stage"] == "bound"]
        session = bound[number % len(bound)]
        self.bench.notify(session["euicc"].result(seq=len(self.sessions) + number, error=error))
        session["stage"] = "over"
        if error is None:
            self.done[session["order"]] = session["who"]
            self.reached.add("installed")

    @rule(who=st.integers(0, 2), name=st.sampled_from([*ORDERS]), error=st.sampled_from([None, None, 10, 12, -1, -2]))
    def download(self, who: int, name: str, error: int | None) -> None:
        """A download as it should be, or one whose last message is missing."""
        self.initiate(who)
        last = len(self.sessions) - 1
        self.sessions = [self.sessions[last], *self.sessions[:last]]
        self.authenticate(0, name)
        if error != -1:
            self.bind(0, CODE)
            if self.sessions[0]["stage"] == "bound" and error != -2:
                self.result(0, error)

    @rule(who=st.integers(0, 2), event=st.sampled_from(["enable", "disable", "delete"]), seq=st.integers(0, 30))
    def notification(self, who: int, event: str, seq: int) -> None:
        self.bench.notify(self.euiccs[who].notification(event, seq))

    @rule(minutes=st.sampled_from([1, 61]))
    def wait(self, minutes: int) -> None:
        self.bench.now_ns += minutes * 60 * 10**9

    @invariant()
    def orders_hold(self) -> None:
        if not hasattr(self, "bench"):
            return
        for name in ORDERS:
            order = self.bench.store.find_order(name)
            downloads = self.bench.store.downloads(order_id=order.id)
            assert sum(one.attempts for one in downloads) == self.attempts[name]
            assert self.attempts[name] <= order.max_downloads or order.test_order
            assert sum(one.cc_failures for one in downloads) <= order.max_cc_failures
            if name == "TEST":
                assert order.state.value == "Released"
                continue
            assert len(self.delivered[name]) <= 1, "an order went to two eUICCs"
            if self.delivered[name]:
                assert order.eid == self.euiccs[next(iter(self.delivered[name]))].eid
            if name in self.done:
                assert order.state.value in DONE, f"{name} was installed and is {order.state.value}"

    def teardown(self) -> None:
        if hasattr(self, "bench"):
            self.bench.store.close()


def test_any_order_of_es9_calls(pkis: Any, bench: Any, tools: Any) -> None:
    # The class of the bench of other tests: a machine makes its own, once for each example.
    Es9.make_bench = staticmethod(lambda: type(bench)(pkis["own"]))
    Es9.tools = tools
    Es9.euiccs = [bench.euicc(number) for number in (1, 2, 3)]
    Es9.reached = set()
    run_state_machine_as_test(
        Es9,
        settings=settings(
            max_examples=50,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert {"authenticate None", "bind None", "cancel None", "installed"} <= Es9.reached


def test_a_failure_in_a_second_session_does_not_undo_an_installation(bench: Any) -> None:
    first = bench.euicc(1)
    second = copy.copy(first)
    second.challenge = bytes(16)
    for euicc in (first, second):
        bench.bind(euicc, bench.authenticate(euicc))
    bench.notify(first.result(seq=1))
    bench.notify(second.result(seq=2, error=9))
    assert bench.state() == "Installed"
