"""Which CIs an eUICC trusts, and what is said where nobody can serve it."""

from pathlib import Path

import pytest

from esim_bench import clock
from esim_bench.codec import tlv
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.codec.es10 import EuiccInfo1
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import AgentError, CodecError, ConfigError, RspError, TransportError
from esim_bench.events import ListSink, MarkEvent, RspEvent
from esim_bench.rack.model import load_rack
from esim_bench.rack.slot import open_slot
from esim_bench.rack.source import ProfileSource
from esim_bench.rack.trust import Trust, ci_name, known_cis, short_ci_names
from esim_bench.rack.world import World, is_own
from esim_bench.servers.pki import create_pki, make_eid

LIVE = bytes.fromhex("81370F5125D0B1D408D4C3B232E6D25E795BEBFB")
NIST = bytes.fromhex("F54172BDF98A95D65CBEB88A38A1C11D800A85C3")
OWN = bytes(range(20))


def test_every_known_ci_has_a_name_and_a_source() -> None:
    known = known_cis()
    assert known[LIVE].name == "GSMA RSP2 Root CI1"
    assert (known[LIVE].kind, known[NIST].kind) == ("live", "test")
    assert all(len(key) == 20 for key in known)
    assert len({one.name for one in known.values()}) == len(known)


def test_names_for_people() -> None:
    assert ci_name(LIVE) == f"GSMA RSP2 Root CI1 ({LIVE.hex().upper()})"
    assert ci_name(OWN) == f"an unknown CI ({OWN.hex().upper()})"
    assert ci_name(OWN, OWN) == f"the CI of this bench ({OWN.hex().upper()})"
    assert ci_name(NIST, NIST) == f"GSMA test CI, NIST P-256 ({NIST.hex().upper()}), the CI of this bench"


def test_names_in_a_few_words() -> None:
    assert short_ci_names([LIVE, OWN], OWN) == "GSMA RSP2 Root CI1 and the CI of this bench"
    assert short_ci_names([OWN]) == f"CI {OWN.hex().upper()}"
    assert short_ci_names([]) == "no CI at all"


def test_an_euicc_info1_is_read() -> None:
    lists = [tlv.encode(0xA9, tlv.encode(4, LIVE), tlv.encode(4, NIST)), tlv.encode(0xAA, tlv.encode(4, NIST))]
    info = EuiccInfo1.parse(tlv.encode(0xBF20, tlv.encode(0x82, b"\x02\x05\x00"), *lists))
    assert (info.svn, info.verification, info.signing) == ("2.5.0", (LIVE, NIST), (NIST,))


@pytest.mark.parametrize(
    "raw",
    [
        "BF2100",
        "BF2000",
        "BF200582030205AA",
        "BF20078202 0205A900AA00".replace(" ", ""),
        "BF200B8203020500A9020500AA00",
    ],
)
def test_a_malformed_euicc_info1_is_refused(raw: str) -> None:
    with pytest.raises(CodecError):
        EuiccInfo1.parse(bytes.fromhex(raw))


@pytest.mark.parametrize(
    ("verification", "signing", "said"),
    [
        ([LIVE], [LIVE], r"this eUICC trusts GSMA RSP2 Root CI1 .*; the SM-DP\+ of this bench signs under a test CI"),
        ([LIVE, NIST], [LIVE], "GSMA RSP2 Root CI1 .* and GSMA test CI, NIST"),
        ([], [], "this eUICC trusts no CI at all"),
        ([OWN], [NIST], "this eUICC has certificates of GSMA test CI"),
    ],
)
def test_our_server_is_refused_with_both_sides(verification: list[bytes], signing: list[bytes], said: str) -> None:
    trust = Trust(verification, signing, OWN)
    assert not trust.served_by_bench
    with pytest.raises(ConfigError, match=said) as caught:
        trust.require_bench()
    assert OWN.hex().upper() in str(caught.value)
    assert "use a test eUICC" in str(caught.value)
    assert "[rack] pki" in str(caught.value)


def test_our_server_serves_its_own() -> None:
    Trust([LIVE, OWN], [OWN], OWN).require_bench()


def test_refusals_over_certificates_are_explained_and_no_others() -> None:
    trust = Trust([LIVE], [LIVE])
    for codes in (("8.8.2", "3.1"), ("8.8.4", "3.7")):
        error = trust.explain(RspError(*codes, "refused"), "dp.example.com")
        assert isinstance(error, RspError)
        assert (error.subject, error.reason) == codes
        assert "trusts GSMA RSP2 Root CI1" in str(error)
        assert "dp.example.com works with none of them" in str(error)
    refused = trust.explain(AgentError("the eUICC refused AuthenticateServer", code="ciPKUnknown"), "dp.example.com")
    assert "GSMA RSP2 Root CI1" in str(refused)
    for other in (RspError("8.2.6", "3.8"), TransportError("x"), AgentError("x", code="postponed")):
        assert trust.explain(other, "dp.example.com") is other


def test_the_document_names_each_ci_once() -> None:
    rows = Trust([LIVE, OWN], [OWN, NIST], OWN).document()
    assert [(row["name"], row["own"], row["verification"], row["signing"]) for row in rows] == [
        ("GSMA RSP2 Root CI1", False, True, False),
        (None, True, True, True),
        ("GSMA test CI, NIST P-256", False, False, True),
    ]


def test_own_addresses() -> None:
    assert is_own("TestSMDPplus1.example.com")
    assert is_own("testsmdpplus1.example.com:443")
    assert not is_own("testsmdpplus1.example.com.evil.example")
    assert not is_own("localhost:8443")


def sent_and_said(code: ActivationCode | None) -> tuple[BaseException | None, ListSink]:
    """Download on an eUICC of somebody else's CI; None: from our own SM-DP+."""
    rack = load_rack()
    world = World(rack, "1")
    other = create_pki(SeededRandomness("another"), now_ns=clock.VIRTUAL_EPOCH_NS)
    world.identity = lambda slot: other.issue_euicc(make_eid(1), SeededRandomness("x"))  # type: ignore[method-assign]
    sink = ListSink()

    async def job() -> BaseException | None:
        slot = open_slot(rack.one("A1"), world, sink)
        await slot.start()
        try:
            await slot.install(code or (await world.order(ProfileSource(profile="operational-a"))).activation_code)
        except Exception as exc:
            return exc
        finally:
            await slot.close()
        return None

    return clock.run_virtual(job()), sink


def test_nothing_is_sent_to_our_server_for_an_euicc_that_it_cannot_serve() -> None:
    error, sink = sent_and_said(None)
    assert isinstance(error, ConfigError)
    assert "this eUICC trusts an unknown CI" in str(error)
    assert not [event for event in sink.events if isinstance(event, RspEvent)]


def test_of_a_foreign_server_the_trace_says_what_the_euicc_lists_before_anything_is_sent() -> None:
    error, sink = sent_and_said(ActivationCode("dp.example.com", "ABC"))
    assert "no network in virtual time" in str(error)
    seen = [event for event in sink.events if isinstance(event, RspEvent | MarkEvent)]
    assert isinstance(seen[0], MarkEvent)
    assert "dp.example.com can serve it only with certificates of that CI" in seen[0].text
    assert isinstance(seen[1], RspEvent)


def test_the_table_is_part_of_the_package() -> None:
    from esim_bench import data

    assert (Path(data.root()) / "hw" / "ci.toml").is_file()
