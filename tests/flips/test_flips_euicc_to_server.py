"""Every bit of what an eUICC sends to the SM-DP+, changed on its way: refused with the status code of its place.

A refusal changes nothing at the server: the session, the order and its counts stay, and the right message is taken
afterwards. Of notifications a record is kept that says why it was not believed. "malformed" is HTTP 400 (127 in the
ASN.1 binding): the bytes are no message of this kind any more.
"""

import logging

import pytest

from esim_bench.codec import es10

MALFORMED, TAKEN = "malformed", "taken"
EUICC, EUM_CERTIFICATE, EUICC_CERTIFICATE = "8.1/6.1", "8.1.2/6.1", "8.1.3/6.1"
UNKNOWN_CI, TRANSACTION = "8.11.1/3.9", "8.10.1/3.9"
AUTHORITY_KEY_ID = bytes.fromhex("0603551D23")

CERTIFICATE = ("tbsCertificate", "signatureAlgorithm", "signatureValue")
EUM = tuple(f"EUM {name}" for name in CERTIFICATE)
FRAME = (MALFORMED, MALFORMED, ())
SIGNED = (EUICC, EUICC, EUICC)
"""What the server does not look at before the signature: all of it is signed, and that is all there is to say."""
CERTIFICATE_ERRORS = {
    # A length that leaves whole objects behind makes another object of the chain stand where the EUM's should.
    "CERT.EUICC": (MALFORMED, {MALFORMED, EUM_CERTIFICATE}, ()),
    "CERT.EUM": (MALFORMED, {MALFORMED, EUM_CERTIFICATE}, ()),
    **dict.fromkeys(CERTIFICATE, (EUICC_CERTIFICATE,) * 3),
    **dict.fromkeys(EUM, (EUM_CERTIFICATE,) * 3),
    # Another authority key identifier is another CI; looked at below.
    EUM[0]: (EUM_CERTIFICATE, EUM_CERTIFICATE, {EUM_CERTIFICATE, UNKNOWN_CI}),
}

AUTHENTICATE_SERVER = (
    (
        "AuthenticateServerResponse",
        (
            (
                "authenticateResponseOk",
                (
                    (
                        "euiccSigned1",
                        (
                            "transactionId",
                            "serverAddress",
                            "serverChallenge",
                            "euiccInfo2",
                            ("ctxParams1", ("matchingId", ("deviceInfo", ("tac", "deviceCapabilities")))),
                        ),
                    ),
                    "euiccSignature1",
                    ("CERT.EUICC", CERTIFICATE),
                    ("CERT.EUM", EUM),
                ),
            ),
        ),
    ),
)
AUTHENTICATE_SERVER_ERRORS = {
    "AuthenticateServerResponse": FRAME,
    "authenticateResponseOk": FRAME,
    "euiccSigned1": FRAME,
    "transactionId": (MALFORMED, MALFORMED, TRANSACTION),
    "serverAddress": (MALFORMED, MALFORMED, {EUICC, MALFORMED}),  # MALFORMED: not UTF-8
    "serverChallenge": (MALFORMED, MALFORMED, EUICC),
    "euiccInfo2": (MALFORMED, MALFORMED, {EUICC, MALFORMED}),
    "ctxParams1": FRAME,
    "matchingId": (EUICC, MALFORMED, {EUICC, MALFORMED}),
    "deviceInfo": (EUICC, {EUICC, MALFORMED}, ()),
    "tac": SIGNED,
    "deviceCapabilities": SIGNED,
    "euiccSignature1": (MALFORMED, {MALFORMED, EUM_CERTIFICATE}, EUICC),
    **CERTIFICATE_ERRORS,
}

PREPARE_DOWNLOAD = (
    (
        "PrepareDownloadResponse",
        (
            (
                "downloadResponseOk",
                (("euiccSigned2", ("transactionId", "euiccOtpk", "hashCc")), "euiccSignature2"),
            ),
        ),
    ),
)
PREPARE_DOWNLOAD_ERRORS = {
    "PrepareDownloadResponse": FRAME,
    "downloadResponseOk": FRAME,
    "euiccSigned2": FRAME,
    "transactionId": (MALFORMED, MALFORMED, TRANSACTION),
    "euiccOtpk": (MALFORMED, {MALFORMED, EUICC}, EUICC),
    "hashCc": (EUICC, MALFORMED, EUICC),
    "euiccSignature2": (MALFORMED, MALFORMED, EUICC),
}

CANCEL_SESSION = (
    (
        "CancelSessionResponse",
        (
            (
                "cancelSessionResponseOk",
                (
                    ("euiccCancelSessionSigned", ("transactionId", "smdpOid", "reason")),
                    "euiccCancelSessionSignature",
                ),
            ),
        ),
    ),
)
CANCEL_SESSION_ERRORS = {
    "CancelSessionResponse": FRAME,
    "cancelSessionResponseOk": FRAME,
    "euiccCancelSessionSigned": FRAME,
    "transactionId": (MALFORMED, MALFORMED, TRANSACTION),
    "smdpOid": (MALFORMED, MALFORMED, EUICC),
    "reason": (MALFORMED, MALFORMED, {EUICC, MALFORMED}),  # MALFORMED: a negative number
    "euiccCancelSessionSignature": (MALFORMED, MALFORMED, EUICC),
}

METADATA = ("notificationMetadata", ("seqNumber", "profileManagementOperation", "notificationAddress", "iccid"))
METADATA_ERRORS = {
    "notificationMetadata": FRAME,
    "seqNumber": (MALFORMED, MALFORMED, {EUICC, MALFORMED}),  # MALFORMED: a negative number
    "profileManagementOperation": (MALFORMED, MALFORMED, {EUICC, MALFORMED}),  # MALFORMED: no event, or two
    "notificationAddress": (EUICC, MALFORMED, EUICC),
    "iccid": (EUICC, MALFORMED, EUICC),
}
INSTALLATION_RESULT = (
    (
        "ProfileInstallationResult",
        (
            (
                "profileInstallationResultData",
                (
                    "transactionId",
                    METADATA,
                    "smdpOid",
                    ("finalResult", (("successResult", ("aid", "simaResponse")),)),
                ),
            ),
            "euiccSignPIR",
        ),
    ),
)
INSTALLATION_RESULT_ERRORS = {
    "ProfileInstallationResult": FRAME,
    "profileInstallationResultData": FRAME,
    "transactionId": (MALFORMED, MALFORMED, TRANSACTION),
    **METADATA_ERRORS,
    "smdpOid": (MALFORMED, MALFORMED, EUICC),
    "finalResult": FRAME,
    "successResult": FRAME,
    "aid": SIGNED,
    "simaResponse": SIGNED,
    "euiccSignPIR": (MALFORMED, MALFORMED, EUICC),
}

OTHER_NOTIFICATION = (
    (
        "OtherSignedNotification",
        (METADATA, "euiccNotificationSignature", ("CERT.EUICC", CERTIFICATE), ("CERT.EUM", EUM)),
    ),
)
OTHER_NOTIFICATION_ERRORS = {
    "OtherSignedNotification": FRAME,
    **METADATA_ERRORS,
    "euiccNotificationSignature": (MALFORMED, {MALFORMED, EUM_CERTIFICATE}, EUICC),
    **CERTIFICATE_ERRORS,
}


@pytest.fixture(scope="module")
def world(make_world):
    world = make_world(confirmation_code="1234")
    world.download()
    return world


@pytest.fixture(autouse=True)
def _quiet():
    """Ten thousand refusals are as many lines in the log."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def each_change(tools, payload, layout, rules):
    """Yield (area, position, changed payload, codes that are right): each bit of each byte."""
    seen = 0
    for area in tools.areas(payload, layout):
        allowed = tools.expected(rules, area)
        for position in range(area.start, area.end):
            seen += 1
            for bit in range(8):
                yield (area.name, area.part, position, bit), tools.flip(payload, position, bit), allowed
    assert seen == len(payload)


def refused_everywhere(tools, world, function, name, layout, rules):
    fields, before = world.server_back_to(function)
    database = world.smdp.store._db
    written = database.total_changes
    codes = {}
    for where, changed, allowed in each_change(tools, fields[name], layout, rules):
        code = world.handle(function, {**fields, name: changed})
        assert code in allowed, (where, code)
        assert database.total_changes == written, where
        assert before.changed() == [], where
        codes[where] = code
    assert world.handle(function, fields) == TAKEN
    return codes


def test_authenticate_server_response(tools, world):
    layout, rules = AUTHENTICATE_SERVER, AUTHENTICATE_SERVER_ERRORS
    codes = refused_everywhere(tools, world, "authenticateClient", "authenticateServerResponse", layout, rules)
    payload = world.server["authenticateClient"][0]["authenticateServerResponse"]
    # Only where the EUM's certificate names its issuer, and there every bit of the name.
    start = payload.rindex(AUTHORITY_KEY_ID)
    end = payload.index(world.pki.ci_key.key_id, start) + 20
    unknown = {where[2:] for where, code in codes.items() if code == UNKNOWN_CI}
    assert {position for position, _ in unknown} <= set(range(start - 2, end))
    assert {(position, bit) for position in range(end - 20, end) for bit in range(8)} <= unknown
    # What text is, and what an address is, is seen before the signature; the rest only by it.
    for name in ("serverAddress", "matchingId"):
        parts = {(bit == 7, code) for (area, part, _, bit), code in codes.items() if (area, part) == (name, "value")}
        assert parts == {(False, EUICC), (True, MALFORMED)}


def test_prepare_download_response(tools, world):
    codes = refused_everywhere(
        tools, world, "getBoundProfilePackage", "prepareDownloadResponse", PREPARE_DOWNLOAD, PREPARE_DOWNLOAD_ERRORS
    )
    # No change of hashCc was a guess of the confirmation code.
    assert "8.2.7/3.8" not in codes.values()


def test_cancel_session_response(tools, make_world):
    world = make_world()
    world.download()
    step = world.cancellation(reason=0)
    step.before.restore()
    response = world.terminal.es10(step.request)
    world.server_back_to("getBoundProfilePackage")
    fields = {"transactionId": world.messages["transactionId"], "cancelSessionResponse": response}
    world.note("cancelSession", fields)
    refused_everywhere(tools, world, "cancelSession", "cancelSessionResponse", CANCEL_SESSION, CANCEL_SESSION_ERRORS)


def kept_as_refused(tools, world, payload, layout, rules):
    """Each changed notification is malformed, or kept with the status code of its refusal; no order moves."""
    store = world.smdp.store
    tables = ("orders", "downloads", "transactions", "packages")

    def state():
        return [store._db.execute(f"SELECT * FROM {table}").fetchall() for table in tables]

    world.note("handleNotification", {"pendingNotification": payload})
    before, kept = state(), len(store.notifications())
    for where, changed, allowed in each_change(tools, payload, layout, rules):
        code = world.handle("handleNotification", {"pendingNotification": changed})
        records = store.notifications()[kept:]
        if code == MALFORMED:
            assert records == [], where
        else:
            assert code == TAKEN, where
            (record,) = records
            assert (record.verified, record.eid, record.raw) == (False, None, changed), where
            code = record.detail.split(" ")[0]
            store._db.execute("DELETE FROM notifications WHERE verified = 0")
            world.server["handleNotification"][1].restore()
        assert code in allowed, (where, code)
    assert state() == before
    assert world.deliver(payload).verified
    assert state() != before


def test_profile_installation_result(tools, make_world):
    world = make_world()
    payload = world.download()
    kept_as_refused(tools, world, payload, INSTALLATION_RESULT, INSTALLATION_RESULT_ERRORS)


def test_other_signed_notification(tools, make_world):
    world = make_world()
    world.deliver(world.download())
    profiles = es10.profile_infos(world.terminal.es10(es10.get_profiles_info()))
    (iccid,) = [profile.iccid for profile in profiles if not profile.enabled]
    world.terminal.es10(es10.enable_profile(iccid, refresh=False))
    pending = es10.pending_notifications(world.terminal.es10(es10.retrieve_notifications()))
    (payload,) = [one.raw for one in pending if one.operation == "enable"]
    kept_as_refused(tools, world, payload, OTHER_NOTIFICATION, OTHER_NOTIFICATION_ERRORS)


# ------------------------------------------------------------------------------------------------ what nobody signs


def test_the_lpas_own_words_are_judged_by_the_server(tools, world):
    """What the LPA puts into ctxParams1 and hashCc: the eUICC signs it, changed or not, and the SM-DP+ refuses it."""
    step = world.steps["AuthenticateServer"]
    fields, _ = world.server_back_to("authenticateClient")
    start = step.request.index(world.matching_id.encode())
    for position in range(start, start + len(world.matching_id)):
        for bit in range(8):
            answer = world.replay(step, tools.flip(step.request, position, bit))
            assert answer.code == "ok"
            fields, _ = world.server_back_to("authenticateClient")
            code = world.handle("authenticateClient", {**fields, "authenticateServerResponse": answer.data})
            assert code == (MALFORMED if bit == 7 else "8.2.6/3.8")
    step = world.steps["PrepareDownload"]
    start = step.request.index(world.hash_cc(world.messages["transactionId"]))
    for position in range(start, start + 32):
        answer = world.replay(step, tools.flip(step.request, position))
        fields, _ = world.server_back_to("getBoundProfilePackage")
        code = world.handle("getBoundProfilePackage", {**fields, "prepareDownloadResponse": answer.data})
        assert code == "8.2.7/3.8"


@pytest.mark.parametrize("function", ["authenticateClient", "getBoundProfilePackage"])
def test_the_transaction_id_beside_the_payload(tools, world, function):
    fields, before = world.server_back_to(function)
    transaction = fields["transactionId"]
    for position in range(len(transaction)):
        for bit in range(8):
            other = tools.flip(transaction, position, bit)
            assert world.handle(function, {**fields, "transactionId": other}) == TRANSACTION
            assert before.changed() == []
    assert world.handle(function, fields) == TAKEN
