"""Every bit of what an SM-DP+ sends before the package, changed on its way: the eUICC refuses with the right code.

Nothing of it is left on the card, and no ProfileInstallationResult: no BF23 was accepted yet. What the server does not
sign is in the tables too: the frame of the request, ctxParams1 and hashCc, which are the LPA's own words.
"""

import pytest

NOT_A_REQUEST = "6A80"
CERTIFICATE, SIGNATURE, NO_CI, UNDEFINED = 1, 2, 7, 127
"""invalidCertificate, invalidSignature, ciPKUnknown, undefinedError."""
OTHER_FUNCTION = "6A88"
ONE_TIME_KEY = "euicc/otpk/2.999.10"


AUTHENTICATE_SERVER = (
    (
        "AuthenticateServerRequest",
        (
            ("serverSigned1", ("transactionId", "euiccChallenge", "serverAddress", "serverChallenge")),
            "serverSignature1",
            "euiccCiPKIdToBeUsed",
            ("CERT.DPauth", ("tbsCertificate", "signatureAlgorithm", "signatureValue")),
            ("ctxParams1", ("matchingId", ("deviceInfo", ("tac", "deviceCapabilities")))),
        ),
    ),
)
# What stands where a signed member is named by another tag makes no sense of the transaction: undefinedError. What can
# not be cut into members is no request at all: 6A80.
AUTHENTICATE_SERVER_ERRORS = {
    # One bit away from BF38: BF28 (ListNotification), BF30 (RemoveNotificationFromList), BF3C (configured addresses).
    "AuthenticateServerRequest": ({OTHER_FUNCTION, "BF28", "BF30", "BF3C"}, NOT_A_REQUEST, ()),
    "serverSigned1": (NOT_A_REQUEST, NOT_A_REQUEST, ()),
    "transactionId": (NOT_A_REQUEST, NOT_A_REQUEST, SIGNATURE),
    "euiccChallenge": (UNDEFINED, NOT_A_REQUEST, SIGNATURE),
    "serverAddress": (UNDEFINED, NOT_A_REQUEST, {SIGNATURE, UNDEFINED}),  # UNDEFINED: not UTF-8 any more, see below
    "serverChallenge": (UNDEFINED, NOT_A_REQUEST, SIGNATURE),
    "serverSignature1": (NOT_A_REQUEST, NOT_A_REQUEST, SIGNATURE),
    "euiccCiPKIdToBeUsed": (NOT_A_REQUEST, NOT_A_REQUEST, NO_CI),
    "CERT.DPauth": (NOT_A_REQUEST, NOT_A_REQUEST, ()),
    "tbsCertificate": (CERTIFICATE, CERTIFICATE, CERTIFICATE),
    "signatureAlgorithm": (CERTIFICATE, CERTIFICATE, CERTIFICATE),
    "signatureValue": (CERTIFICATE, CERTIFICATE, CERTIFICATE),
    # The eUICC signs what the LPA says of itself; whether it is true is the SM-DP+'s question.
    "ctxParams1": (NOT_A_REQUEST, {NOT_A_REQUEST, UNDEFINED}, ()),
    "matchingId": ("ok", {"ok", UNDEFINED}, "ok"),
    "deviceInfo": (UNDEFINED, {"ok", UNDEFINED}, ()),
    "tac": ("ok", "ok", "ok"),
    "deviceCapabilities": ("ok", "ok", "ok"),
}

PREPARE_DOWNLOAD = (
    (
        "PrepareDownloadRequest",
        (
            ("smdpSigned2", ("transactionId", "ccRequiredFlag")),
            "smdpSignature2",
            "hashCc",
            ("CERT.DPpb", ("tbsCertificate", "signatureAlgorithm", "signatureValue")),
        ),
    ),
)
PREPARE_DOWNLOAD_ERRORS = {
    # One bit away from BF21: BF20 (GetEUICCInfo1), BF29 (SetNickname), BF31 (EnableProfile).
    "PrepareDownloadRequest": ({OTHER_FUNCTION, NOT_A_REQUEST, "BF20", "BF29", "BF31"}, NOT_A_REQUEST, ()),
    "smdpSigned2": (NOT_A_REQUEST, NOT_A_REQUEST, ()),
    "transactionId": (NOT_A_REQUEST, NOT_A_REQUEST, SIGNATURE),
    "ccRequiredFlag": (UNDEFINED, NOT_A_REQUEST, SIGNATURE),
    # A shorter value may leave bytes that read as members: then it is the members that are wrong.
    "smdpSignature2": (NOT_A_REQUEST, {NOT_A_REQUEST, UNDEFINED}, SIGNATURE),
    # The LPA's own word, signed back: a wrong one is the SM-DP+'s to refuse.
    "hashCc": (UNDEFINED, {NOT_A_REQUEST, UNDEFINED}, "ok"),
    "CERT.DPpb": (UNDEFINED, {NOT_A_REQUEST, CERTIFICATE}, ()),
    "tbsCertificate": (CERTIFICATE, CERTIFICATE, CERTIFICATE),
    "signatureAlgorithm": (CERTIFICATE, CERTIFICATE, CERTIFICATE),
    "signatureValue": (CERTIFICATE, CERTIFICATE, CERTIFICATE),
}


@pytest.fixture(scope="module")
def world(make_world):
    world = make_world(confirmation_code="1234")
    world.download()
    return world


def refused_everywhere(tools, world, step, layout, rules, *, kept=frozenset(), bits=range(8)):
    """Change every bit; return how many changes there were. ``kept``: NVM keys that an accepted one may leave."""
    count = 0
    for area in tools.areas(step.request, layout):
        allowed = tools.expected(rules, area)
        for position in range(area.start, area.end):
            for bit in bits:
                outcome = world.replay(step, tools.flip(step.request, position, bit))
                where = (area.name, area.part, position, bit)
                assert outcome.code in allowed, (where, outcome.code)
                assert outcome.gone == frozenset(), where
                assert outcome.left.keys() <= (kept if outcome.code == "ok" else frozenset()), where
                count += 1
    assert count == len(step.request) * len(bits)
    return count


def test_authenticate_server(tools, world):
    step = world.steps["AuthenticateServer"]
    assert refused_everywhere(tools, world, step, AUTHENTICATE_SERVER, AUTHENTICATE_SERVER_ERRORS) > 6000


def test_an_address_is_judged_by_the_signature_unless_it_is_no_text(tools, world):
    step = world.steps["AuthenticateServer"]
    (area,) = [
        area for area in tools.areas(step.request, AUTHENTICATE_SERVER)
        if (area.name, area.part) == ("serverAddress", "value")
    ]  # fmt: skip
    for position in range(area.start, area.end):
        for bit in range(8):
            code = world.replay(step, tools.flip(step.request, position, bit)).code
            assert code == (UNDEFINED if bit == 7 else SIGNATURE)


def test_prepare_download(tools, world):
    step = world.steps["PrepareDownload"]
    rules = PREPARE_DOWNLOAD_ERRORS
    assert refused_everywhere(tools, world, step, PREPARE_DOWNLOAD, rules, kept={ONE_TIME_KEY}) > 5000


def test_cancel_session(tools, world):
    """Nobody signs the request; only the transaction id ties it to a session."""
    step = world.cancellation(reason=0)
    layout = (("CancelSessionRequest", ("transactionId", "reason")),)
    rules = {
        # One bit away from BF41: BF43 (GetRAT).
        "CancelSessionRequest": ({OTHER_FUNCTION, NOT_A_REQUEST, "BF43"}, NOT_A_REQUEST, ()),
        "transactionId": ({UNDEFINED}, {NOT_A_REQUEST, UNDEFINED}, 5),
        "reason": ({UNDEFINED}, {NOT_A_REQUEST, UNDEFINED}, {"ok", UNDEFINED}),
    }
    refused_everywhere(tools, world, step, layout, rules)
    (area,) = [area for area in tools.areas(step.request, layout) if (area.name, area.part) == ("reason", "value")]
    codes = [world.replay(step, tools.flip(step.request, area.start, bit)).code for bit in range(8)]
    # From 0 to 1, 2, 4: another reason, which the eUICC signs; 8, 16, ... are none.
    assert codes == ["ok"] * 3 + [UNDEFINED] * 5


@pytest.mark.parametrize("name", ["AuthenticateServer", "PrepareDownload"])
def test_the_next_download_works_after_a_change(tools, world, name):
    step = world.steps[name]
    for position in range(0, len(step.request), len(step.request) // 12):
        world.replay(step, tools.flip(step.request, position))
        with world.aside():
            assert world.succeeds()
