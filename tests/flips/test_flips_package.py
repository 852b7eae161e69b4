"""Every byte of every segment of a bound profile package, changed on its way into the eUICC.

Once BF23 is being processed there is exactly one ProfileInstallationResult, with the command that was being executed
and the reason; before that there is none. Nothing else changes: the profile that is enabled, all files, and the free
memory but for the bytes of that result. The framing (BF36, A0 to A3 and their lengths) is signed by nobody; changed, it
ends in a structure error, or where BF36 itself is no BF36 any more in a bare status word.
"""

import pytest

from esim_bench.codec import es10, tlv
from esim_bench.crypto import ecdsa
from esim_bench.crypto.certificates import Certificate

INITIALISE, CONFIGURE, METADATA, METADATA2, REPLACE_KEYS, ELEMENTS = range(6)
VALUES, SIGNATURE, TRANSACTION, CRT, OPERATION, STRUCTURE, SECURITY = 1, 2, 3, 4, 5, 7, 8
"""incorrectInputValues, invalidSignature, invalidTransactionId, unsupportedCrtValues, unsupportedRemoteOperationType,
scp03tStructureError, scp03tSecurityError."""

BF23 = (
    (
        "InitialiseSecureChannel",
        (
            "remoteOpId",
            "transactionId",
            ("controlRefTemplate", ("keyType", "keyLength", "hostId")),
            "smdpOtpk",
            "smdpSign",
        ),
    ),
)
MALFORMED = f"{INITIALISE}/{VALUES}"
BF23_ERRORS = {
    "InitialiseSecureChannel": (MALFORMED, MALFORMED, ()),
    "remoteOpId": (MALFORMED, MALFORMED, f"{INITIALISE}/{OPERATION}"),
    "transactionId": (MALFORMED, MALFORMED, f"{INITIALISE}/{TRANSACTION}"),
    "controlRefTemplate": (MALFORMED, MALFORMED, ()),
    "keyType": (MALFORMED, MALFORMED, f"{INITIALISE}/{CRT}"),
    "keyLength": (MALFORMED, MALFORMED, f"{INITIALISE}/{CRT}"),
    "hostId": (MALFORMED, MALFORMED, f"{INITIALISE}/{SIGNATURE}"),
    "smdpOtpk": (MALFORMED, MALFORMED, f"{INITIALISE}/{SIGNATURE}"),
    "smdpSign": (MALFORMED, MALFORMED, f"{INITIALISE}/{SIGNATURE}"),
}
CONTAINERS = {0xA0: CONFIGURE, 0xA1: METADATA, 0xA2: REPLACE_KEYS, 0xA3: ELEMENTS}
PROTECTED = {0x86: ELEMENTS, 0x87: CONFIGURE, 0x88: METADATA}
STORED = frozenset(("notification/", "euicc/sequence"))
ONE_TIME_KEY = "euicc/otpk/2.999.10"


class Loading:
    """The load of a recorded package, segment by segment, with changes."""

    def __init__(self, world, tools):
        self.world = world
        self.tools = tools
        self.segments = world.segments
        assert b"".join(one.request for one in self.segments) == world.messages["boundProfilePackage"]
        self.start = self.segments[0]
        self.count = 0

    def change(self, number, position, bit):
        """Send segment ``number`` with one bit changed, and those after it; return the code and the results."""
        step, after = self.segments[number], self.segments[number + 1 :]
        step.before.restore()
        changed = self.tools.flip(step.request, position, bit)
        outcome = self.world.more(self.start, changed, *(one.request for one in after))
        self.count += 1
        return outcome

    def refused(self, number, positions, allowed, bits=(None,)):
        """Change segment ``number`` at these positions: one result, of a command and reason in ``allowed``."""
        for position in positions:
            for bit in bits:
                outcome = self.change(number, position, bit)
                where = (number, position, bit, outcome.code)
                assert outcome.code in allowed, where
                self.one_result_and_nothing_else(outcome, where)

    def one_result_and_nothing_else(self, outcome, where):
        assert len(outcome.results) == 1, where
        assert outcome.results[0] == outcome.data, where
        assert {key[:13] if key.startswith("notification/") else key for key in outcome.left} == STORED, where
        # A secure channel was set up with the one-time key: it must not serve another one.
        used = set() if outcome.code.startswith(f"{INITIALISE}/") else {ONE_TIME_KEY}
        assert outcome.gone == used, where
        key = next(key for key in outcome.left if key.startswith("notification/"))
        freed = sum(len(name) + len(self.start.contents[name]) for name in used)
        assert self.world.card.free_memory == self.start.free - len(key) - len(outcome.data) + freed, where


@pytest.fixture(scope="module", params=["session keys", "random keys"])
def loading(request, make_world, tools):
    world = make_world(random_keys=request.param == "random keys")
    world.download()
    return Loading(world, tools)


# ------------------------------------------------------------------------------------------------------ one by one


def test_the_package_has_all_kinds_of_segments(loading, request):
    first = [one.request[0] for one in loading.segments[1:]]
    replaced = [0xA2] if "random" in request.node.name else []
    assert first == [0xA0, 0xA1, 0x88, 0x88, *replaced, 0xA3, 0x86, 0x86, 0x86]


def test_initialise_secure_channel(loading, tools):
    frame = 5
    request = loading.start.request[frame:]
    for area in tools.areas(request, BF23):
        positions = range(frame + area.start, frame + area.end)
        loading.refused(0, positions, tools.expected(BF23_ERRORS, area), range(8))


def test_another_tag_than_bf36(loading):
    """Another function, or none: the card has not begun a load, and keeps nothing of it."""
    for position in range(2):
        for bit in range(8):
            outcome = loading.change(0, position, bit)
            # One bit away: BF34 (EUICCMemoryReset), BF3x that are none; a tag that goes on into the length.
            assert outcome.code in {"6A88", "6A80", "BF34"}
            assert (outcome.left, outcome.gone) == ({}, frozenset())


def test_another_length_of_bf36(loading):
    first, *rest = range(2, 5)
    for bit in range(8):
        outcome = loading.change(0, first, bit)
        if bit in (0, 7):
            # Still a length, but of another number of bytes: BF23 does not begin where it should.
            assert outcome.code == MALFORMED
            loading.one_result_and_nothing_else(outcome, bit)
        else:
            assert (outcome.code, outcome.left, outcome.gone) == ("6A80", {}, frozenset())
    # Too much or too little for what comes: seen when the last sequence is opened or closed.
    loading.refused(0, rest, {f"{ELEMENTS}/{STRUCTURE}"}, range(8))


def test_tags_and_lengths_of_the_sequences(loading):
    replaced = any(one.request[0] == 0xA2 for one in loading.segments)
    for number, step in enumerate(loading.segments):
        command = CONTAINERS.get(step.request[0])
        if command is None or number == 0:
            continue
        header = tlv.parse_header(step.request)[2]
        # The metadata's length may still be right for their first segment: then the second one does not fit.
        commands = {METADATA, METADATA2} if command == METADATA else {command}
        loading.refused(number, range(1, header), {f"{one}/{STRUCTURE}" for one in commands}, range(8))
        for bit in range(8):
            # ReplaceSessionKeys is optional: what is no A2 should have been the A3 after it, and what is one is that.
            awaited = ELEMENTS if command == REPLACE_KEYS else command
            if loading.tools.flip(step.request, 0, bit)[0] == 0xA2 and awaited == ELEMENTS and not replaced:
                awaited = REPLACE_KEYS
            loading.refused(number, [0], {f"{awaited}/{STRUCTURE}"}, [bit])


def test_protected_segments(loading):
    """Tag and length are under the MAC, but have to make sense before it can be looked at."""
    metadata = 0
    for number, step in enumerate(loading.segments[1:], 1):
        start = 2 if step.request[0] in (0xA0, 0xA2) else 0
        if step.request[start] not in PROTECTED:
            continue
        command = PROTECTED[step.request[start]]
        if step.request[0] == 0xA2:
            command = REPLACE_KEYS
        if command == METADATA:
            command, metadata = (METADATA, METADATA2)[metadata], 1
        header = start + tlv.parse_header(step.request, start)[2] - start
        structure, security = f"{command}/{STRUCTURE}", f"{command}/{SECURITY}"
        loading.refused(number, [start], {structure}, range(8))
        # Longer than what came, or no whole number of blocks: structure. Else the MAC is elsewhere, and wrong.
        loading.refused(number, range(start + 1, header), {structure, security}, range(8))
        loading.refused(number, range(header, len(step.request)), {security})


def test_a_length_is_a_structure_error_unless_whole_blocks_are_left(loading):
    (number, *_) = [index for index, step in enumerate(loading.segments) if step.request[0] == 0x86]
    request = loading.segments[number].request
    assert request[:4] == bytes.fromhex("868203F8")
    for position in (2, 3):
        for bit in range(8):
            length = int.from_bytes(loading.tools.flip(request, position, bit)[2:4], "big")
            whole_blocks = length < len(request) - 4 and (length - 8) % 16 == 0
            reason = SECURITY if whole_blocks else STRUCTURE
            assert loading.change(number, position, bit).code == f"{ELEMENTS}/{reason}"


# ------------------------------------------------------------------------------------------------------ and afterwards


def sampled(loading):
    for number, step in enumerate(loading.segments):
        size = len(step.request)
        yield from ((number, position) for position in sorted({0, 1, size // 3, size // 2, size - 1}))


def test_the_result_is_signed_and_listed_and_nothing_else_is_to_be_seen(loading):
    world = loading.world
    card = Certificate.load(world.card.identity.signing[0].euicc_certificate)
    for number, position in sampled(loading):
        loading.start.before.restore()
        profiles = world.terminal.es10(es10.get_profiles_info())
        outcome = loading.change(number, position, None)
        assert world.terminal.es10(es10.get_profiles_info()) == profiles
        assert world.card.isdr.registry.violations() == []
        pending = es10.pending_notifications(world.terminal.es10(es10.retrieve_notifications()))
        assert [one.raw for one in pending] == outcome.results
        if pending:
            (data, signature) = tlv.parse(pending[0].raw).children()
            ecdsa.verify(card.public_key, signature.value, data.raw)
            assert data.get(0x80).value == world.messages["transactionId"]
            assert world.deliver(pending[0].raw).verified


def test_the_next_download_works_after_a_change(loading):
    for number, position in sampled(loading):
        loading.change(number, position, None)
        with loading.world.aside():
            assert loading.world.succeeds(), (number, position)


def test_the_session_is_over_after_a_change(loading):
    """Neither the right segment nor the whole package is taken in its place."""
    for number in range(1, len(loading.segments)):
        loading.change(number, len(loading.segments[number].request) - 1, None)
        for again in (loading.segments[number], loading.start):
            assert loading.world.terminal.send(again.request) == (b"", 0x6985)


# ------------------------------------------------------------------------------------------------------ a real profile


@pytest.mark.parametrize("random_keys", [False, True], ids=["session keys", "random keys"])
def test_every_byte_of_the_elements_of_a_ts48_profile(make_world, tools, ts48, random_keys):
    world = make_world(ts48("v5").read_bytes(), random_keys=random_keys)
    assert tlv.parse(world.download()).find(0xBF27, 0xA2, 0xA0) is not None
    loading = Loading(world, tools)
    for number, step in enumerate(loading.segments):
        if step.request[0] == 0x86:
            header = tlv.parse_header(step.request)[2]
            loading.refused(number, [0], {f"{ELEMENTS}/{STRUCTURE}"})
            loading.refused(number, range(1, header), {f"{ELEMENTS}/{STRUCTURE}", f"{ELEMENTS}/{SECURITY}"})
            loading.refused(number, range(header, len(step.request)), {f"{ELEMENTS}/{SECURITY}"})
    assert loading.count > 12000
