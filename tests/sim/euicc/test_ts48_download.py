"""A GSMA TS.48 test profile from the SM-DP+ onto a whole simulated card, APDU by APDU; and power cuts all over it."""

import asyncio
from dataclasses import replace

import pytest

from esim_bench.codec import bpp, es10, tlv
from esim_bench.codec.apdu import Command
from esim_bench.codec.es10_results import InstallResult
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.ports import FormFactor
from esim_bench.servers.smdp import Smdp, SmdpCredentials, SqliteStore
from esim_drivers.sim.card import SimCard
from esim_drivers.sim.nvm import Nvm, PowerLost
from esim_drivers.sim.personality import PERSONALITIES

ADDRESS = "testsmdpplus1.example.com"
MATCHING_ID = "TS48-TEST"
NOW_NS = 1_750_000_000 * 10**9
EVENTS = ("install", "enable", "disable", "delete")


class Terminal:
    """As much of a terminal and its LPA as a download needs."""

    def __init__(self, card: SimCard) -> None:
        self.card = card
        self.seconds = 0.0
        self.start()

    def start(self) -> None:
        self.card.power_on()
        assert self.apdu(Command(0x80, 0x10, 0, 0, b"\xff" * 8))[1] == 0x9000
        assert self.apdu(Command(0x00, 0x70, 0, 1))[1] == 0x9000
        assert self.apdu(Command(0x01, 0xA4, 4, 0, es10.ISD_R_AID, 256))[1] == 0x9000

    def apdu(self, command: Command) -> tuple[bytes, int]:
        answer, seconds = self.card.transmit(bytes(command))
        self.seconds += seconds
        data, sw = answer[:-2], int.from_bytes(answer[-2:], "big")
        while sw >> 8 == 0x61:
            answer, seconds = self.card.transmit(bytes(Command(command.cla & 0x0F, 0xC0, 0, 0, le=sw & 0xFF or 256)))
            self.seconds += seconds
            data, sw = data + answer[:-2], int.from_bytes(answer[-2:], "big")
        return data, sw

    def es10(self, request: bytes) -> bytes:
        blocks = [request[at : at + 255] for at in range(0, len(request), 255)]
        data = b""
        for number, block in enumerate(blocks):
            last = number == len(blocks) - 1
            data, sw = self.apdu(Command(0x81, 0xE2, 0x91 if last else 0x11, number, block, 256 if last else None))
            assert sw == 0x9000 or sw >> 8 == 0x91, f"{sw:04X}"
        return data

    def read(self, *path: int) -> bytes:
        """Read a transparent file by its path, on the basic channel."""
        data, sw = b"", 0
        for fid in path:
            _, sw = self.apdu(Command(0x00, 0xA4, 0, 0x04, fid.to_bytes(2, "big"), 256))
            assert sw == 0x9000, f"{fid:04X}: {sw:04X}"
        data, sw = self.apdu(Command(0x00, 0xB0, 0, 0, le=256))
        if sw >> 8 == 0x6C:
            data, sw = self.apdu(Command(0x00, 0xB0, 0, 0, le=sw & 0xFF))
        assert sw == 0x9000, f"{sw:04X}"
        return data

    def download(self, smdp: Smdp) -> InstallResult:
        """The whole of SGP.22 3.1, without a user."""

        def ask(function: str, **fields: bytes | str) -> dict[str, bytes | str]:
            return dict(asyncio.run(smdp.handle(function, fields)))

        first = ask(
            "initiateAuthentication",
            euiccChallenge=es10.challenge(self.es10(es10.get_euicc_challenge())),
            euiccInfo1=self.es10(es10.get_euicc_info1()),
            smdpAddress=ADDRESS,
        )
        device = es10.device_info(bytes.fromhex("35290611"))
        answer = self.es10(
            es10.authenticate_server(
                first["serverSigned1"],
                first["serverSignature1"],
                first["euiccCiPKIdToBeUsed"],
                first["serverCertificate"],
                es10.ctx_params1(MATCHING_ID, device),
            )
        )
        transaction = first["transactionId"]
        second = ask("authenticateClient", transactionId=transaction, authenticateServerResponse=answer)
        answer = self.es10(
            es10.prepare_download(second["smdpSigned2"], second["smdpSignature2"], second["smdpCertificate"])
        )
        third = ask("getBoundProfilePackage", transactionId=transaction, prepareDownloadResponse=answer)
        for segment in bpp.segments(third["boundProfilePackage"]):
            result = self.es10(segment)
            if result:
                ask("handleNotification", pendingNotification=result)
                return InstallResult.parse(result)
        raise AssertionError("no ProfileInstallationResult")


@pytest.fixture(scope="module")
def package(ts48):
    return ts48("v5").read_bytes()


def iccid_of(package):
    return es10.swap_nibbles(tlv.parse_prefix(package).get(0x83).value)


@pytest.fixture(scope="module")
def iccid(package):
    return iccid_of(package)


def make_smdp(pki, package, iccid, **options):
    from esim_bench.codec.metadata import Metadata

    metadata = Metadata(iccid, "GSMA", "TS.48", notifications=[(EVENTS, ADDRESS)])
    smdp = Smdp(
        SmdpCredentials.from_pki(pki),
        SqliteStore(":memory:"),
        SeededRandomness("smdp"),
        [ADDRESS],
        lambda: NOW_NS,
        **options,
    )
    smdp.release(package, metadata.encode(), MATCHING_ID, test_order=True)
    return smdp


def new_card(identity, nvm=None, personality="standard"):
    return SimCard(identity, PERSONALITIES[personality], SeededRandomness("card"), form_factor=FormFactor.FF4, nvm=nvm)


@pytest.mark.parametrize(
    ("personality", "random_keys"), [("standard", False), ("standard", True), ("4ff", False), ("isim", True)]
)
def test_install_enable_and_read(pki, identity, package, iccid, personality, random_keys):
    card = new_card(identity, personality=personality)
    terminal = Terminal(card)
    result = terminal.download(make_smdp(pki, package, iccid, random_keys=random_keys))
    assert result.success
    assert result.sima_response == bytes.fromhex("3007A0053003800100")
    assert card.nvm.writes >= 300
    assert terminal.seconds > 1
    (profile,) = es10.profile_infos(terminal.es10(es10.get_profiles_info()))
    assert (profile.iccid, profile.enabled) == (iccid, False)

    assert es10.result_code(terminal.es10(es10.enable_profile(iccid, refresh=True)))[0] == 0
    terminal.start()
    assert terminal.read(0x3F00, 0x2FE2) == iccid
    assert card.isdr.registry.violations() == []
    pending = es10.pending_notifications(terminal.es10(es10.retrieve_notifications()))
    assert [one.operation for one in pending] == ["install", "enable"]

    assert es10.result_code(terminal.es10(es10.disable_profile(iccid, refresh=False)))[0] == 0
    assert es10.result_code(terminal.es10(es10.delete_profile(iccid)))[0] == 0
    assert card.nvm.keys("isdp/") == []


def test_the_second_profile_does_not_fit_into_a_small_card(pki, identity, package, iccid):
    """70 KiB: after the first one there is room for the package, as the SM-DP+ sees, but not for its files."""
    tight = replace(PERSONALITIES["standard"], nvm_size=70 * 1024)
    card = SimCard(identity, tight, SeededRandomness("card"))
    terminal = Terminal(card)
    assert terminal.download(make_smdp(pki, package, iccid)).success
    before = {key: value for key, value in card.nvm.contents().items() if key.startswith(("isdp/", "euicc/isdp/"))}
    printed = es10.swap_nibbles(iccid)
    other = package.replace(printed, printed[:-1] + b"\x11", 1)
    result = terminal.download(make_smdp(pki, other, iccid_of(other)))
    assert result.reason == "installFailedDueToInsufficientMemoryForProfile"
    assert result.command == "loadProfileElements"
    after = {key: value for key, value in card.nvm.contents().items() if key.startswith(("isdp/", "euicc/isdp/"))}
    assert after == before


@pytest.mark.slow
def test_fifty_cuts_over_an_installation(pki, identity, package, iccid):
    whole = new_card(identity)
    terminal = Terminal(whole)
    start = whole.nvm.snapshot()
    first = whole.nvm.writes
    terminal.download(make_smdp(pki, package, iccid))
    count = whole.nvm.writes - first
    assert count >= 300
    seen = []
    for part in range(50):
        card = new_card(identity, Nvm.restore(start))
        card.nvm.cut_before = part * (count - 1) // 49
        terminal = Terminal(card)
        with pytest.raises(PowerLost):
            terminal.download(make_smdp(pki, package, iccid))
        terminal.start()
        assert es10.profile_infos(terminal.es10(es10.get_profiles_info())) == []
        assert card.nvm.keys("isdp/") == []
        assert card.isdr.registry.violations() == []
        pending = es10.pending_notifications(terminal.es10(es10.retrieve_notifications()))
        seen.append([one.result.reason for one in pending])
    assert seen[:1] == [[]]
    interrupted = seen.index(seen[-1])
    assert interrupted <= 2
    assert all(reasons == seen[-1] and len(reasons) == 1 for reasons in seen[interrupted:])


def test_the_same_seed_gives_the_same_bytes(pki, identity, package, iccid):
    runs = []
    for _ in range(2):
        card = new_card(identity)
        Terminal(card).download(make_smdp(pki, package, iccid))
        runs.append(card.nvm.snapshot())
    assert runs[0] == runs[1]
