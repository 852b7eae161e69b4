"""What an LPA asks its user, and what its errors keep to themselves."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench import clock
from esim_bench.agents.secrecy import conceal
from esim_bench.agents.user import NOBODY, Answer, NoAnswer, User
from esim_bench.codec import es9, es9_asn1
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.codec.metadata import Metadata
from esim_bench.errors import AgentError, BenchError, CodecError, RspError, TransportError
from esim_bench.rack.source import ProfileSource

METADATA = Metadata(bytes(10), "Bench", "Profile")


def test_a_bench_without_a_user_wants_everything_and_knows_no_code() -> None:
    async def job() -> tuple[Answer, Answer, str | None]:
        return await NOBODY.wants(METADATA), await NOBODY.agrees(METADATA, ["ppr2"]), await NOBODY.code(METADATA)

    assert clock.run_virtual(job()) == (Answer.YES, Answer.YES, None)


def test_patience_ends() -> None:
    async def forever(metadata: Metadata) -> str | None:
        await asyncio.sleep(1e6)
        return "late"

    async def job() -> float:
        with pytest.raises(NoAnswer):
            await User(confirmation_code=forever, patience=30).code(METADATA)
        return clock.now()

    assert clock.run_virtual(job()) == 30


@pytest.mark.parametrize(
    "error",
    [
        RspError("8.2.6", "3.8", "no order SECRET-ID here", identifier="SECRET-ID"),
        TransportError("a", expected="SECRET-ID", found="x SECRET-ID y", where="SECRET-ID", hint="4711"),
        AgentError("SECRET-ID", code="SECRET-ID"),
        BenchError("47114711SECRET-ID"),
    ],
)
def test_secrets_are_taken_out_of_errors(error: BenchError) -> None:
    kind = type(error)
    conceal(error, ["SECRET-ID", "4711", ""])
    assert type(error) is kind
    for text in (str(error), repr(vars(error)), repr(error.args)):
        assert "SECRET-ID" not in text
        assert "4711" not in text
    assert "***" in str(error)


def test_an_error_without_secrets_stays_as_it_is() -> None:
    error = RspError("8.2.6", "3.8", "refused")
    conceal(error, ["SECRET-ID", "3.8"])
    assert str(error) == "8.2.6/3.8 refused"


# ----------------------------------------------------------------------------------------- activation codes in reports


def test_a_masked_activation_code_keeps_all_but_the_matching_id() -> None:
    code = ActivationCode.parse("LPA:1$dp.example.com$SECRET-ID$1.3.6.1.4$1")
    assert code.masked == "LPA:1$dp.example.com$***$1.3.6.1.4$1"
    assert ActivationCode("dp.example.com").masked == "LPA:1$dp.example.com$"


@pytest.mark.parametrize(
    "text",
    [
        "LPA:2$dp.example.com$SECRET-ID",
        "LPA:1$dp.example.com$SECRET-ID!",
        "LPA:1$no host$SECRET-ID",
        "LPA:1$dp.example.com$SECRET-ID$oid",
        "LPA:1$dp.example.com$SECRET-ID$$2",
        "LPA:1$dp.example.com$SECRET-ID$$1$",
        "LPA:1$dp.example.com$SECRET-ID" + "X" * 300,
    ],
)
def test_no_complaint_about_an_activation_code_tells_its_matching_id(text: str) -> None:
    with pytest.raises(CodecError) as caught:
        ActivationCode.parse(text)
    assert "SECRET" not in str(caught.value)


def test_the_document_of_a_run_has_no_secrets() -> None:
    source = ProfileSource(activation_code="LPA:1$dp.example.com$SECRET-ID$$1", confirmation_code="4711")
    assert source.document() == {
        "activation_code": "LPA:1$dp.example.com$***$$1",
        "confirmation_code": "***",
    }
    assert ProfileSource(activation_code="LPA:9$SECRET-ID").document() == {"activation_code": "***"}
    assert ProfileSource().document() == {}


@given(
    st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-", min_size=1, max_size=40),
    st.none() | st.from_regex(r"[0-2](\.[0-9]{1,4}){1,6}", fullmatch=True),
    st.booleans(),
)
def test_activation_codes_survive_text(matching_id: str, oid: str | None, flag: bool) -> None:
    code = ActivationCode("dp.example.com:8443", matching_id, oid, flag)
    assert ActivationCode.parse(str(code)) == code
    assert ActivationCode.parse(code.masked.replace("***", matching_id)) == code


@given(st.text(max_size=80) | st.from_regex(r"LPA:1\$.{0,20}\$.{0,20}(\$.{0,10}){0,3}", fullmatch=True))
def test_any_text_is_an_activation_code_or_a_codec_error(text: str) -> None:
    with suppress(CodecError):
        ActivationCode.parse(ActivationCode.parse(text).masked.replace("***", "X"))


@given(st.binary(max_size=60))
def test_any_json_answer_of_a_server_is_read_or_refused(body: bytes) -> None:
    for decode in (es9.decode_response, es9_asn1.decode_response):
        with suppress(CodecError, RspError):
            decode("authenticateClient", body)
