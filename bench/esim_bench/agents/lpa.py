"""The local profile assistant (SGP.22 3): everything that a device does with its eUICC on its own.

Each function is one ES10 exchange or one flow; results that the standard calls errors are AgentError with the
standard's name of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TypeVar

from esim_bench.agents import download as downloading
from esim_bench.agents.download import DownloadResult, Examine, OnProgress, Progress
from esim_bench.agents.user import NOBODY, User
from esim_bench.card import Card
from esim_bench.codec import es10, tlv
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.codec.iot_info import IotProfileInfo, iot_profile_infos
from esim_bench.codec.schema import RSP
from esim_bench.errors import AgentError, CardStatusError, CodecError, DeviceError, ProtocolError
from esim_bench.es9_client import Binding, Es9Client
from esim_bench.ports import Bearer

__all__ = ["DownloadResult", "Lpa", "Progress"]

T = TypeVar("T")

PROFILE_TAGS = bytes.fromhex("5A4F9F70909192959399B6B7")
"""What is asked of each profile: no icon, which may be a kilobyte."""
IOT_PROFILE_TAGS = bytes.fromhex("9F7B9F269F67")


class Lpa:
    """An LPA in the device, for one card. ``device``: its DeviceInfo; ``binding``: how it speaks ES9+."""

    def __init__(self, card: Card, bearer: Bearer, *, device: bytes, binding: Binding = "json") -> None:
        self.card = card
        self.es9 = Es9Client(bearer, binding)
        self.device = device

    # --------------------------------------------------------------------------------------------- information

    async def eid(self) -> str:
        """Return the EID, 32 digits (ES10c.GetEID)."""
        return es10.eid_to_text(_read(es10.eid, await self.card.es10(es10.get_eid())))

    async def info1(self) -> es10.EuiccInfo1:
        """Return EUICCInfo1 (ES10b.GetEUICCInfo)."""
        return _read(es10.EuiccInfo1.parse, await self.card.es10(es10.get_euicc_info1()))

    async def info(self) -> es10.EuiccInfo2:
        """Return EUICCInfo2 (ES10b.GetEUICCInfo)."""
        return _read(es10.EuiccInfo2.parse, await self.card.es10(es10.get_euicc_info2()))

    async def addresses(self) -> tuple[str, str]:
        """Return the default SM-DP+ and the root SM-DS address (ES10a.GetEuiccConfiguredAddresses)."""
        response = await self.card.es10(es10.get_euicc_configured_addresses())
        value = _read(lambda raw: RSP.decode("EuiccConfiguredAddressesResponse", raw), response)
        return value.get("defaultDpAddress", ""), value["rootDsAddress"]

    async def profiles(self) -> list[es10.ProfileInfo]:
        """Return the installed profiles in the eUICC's order (ES10c.GetProfilesInfo)."""
        return _read(es10.profile_infos, await self.card.es10(es10.get_profiles_info(tags=PROFILE_TAGS)))

    async def iot_profiles(self) -> list[IotProfileInfo]:
        """Return the installed profiles with what SGP.32 tells of them: fallback, Emergency Profile."""
        response = await self.card.es10(es10.get_profiles_info(tags=PROFILE_TAGS + IOT_PROFILE_TAGS))
        return _read(lambda raw: iot_profile_infos(tlv.parse(raw, "GetProfilesInfo").get(0xA0).value), response)

    async def authorisation_table(self) -> list[es10.AuthorisationRule]:
        """Return the Rules Authorisation Table (ES10b.GetRAT)."""
        return _read(es10.authorisation_table, await self.card.es10(es10.get_rat()))

    # --------------------------------------------------------------------------------------------- download

    async def download(
        self,
        code: ActivationCode,
        *,
        confirmation_code: str | None = None,
        user: User = NOBODY,
        examine: Examine | None = None,
        progress: OnProgress | None = None,
    ) -> DownloadResult:
        """Download and install a profile; see ``agents.download.download``."""
        return await downloading.download(
            self, code, confirmation_code=confirmation_code, user=user, examine=examine, progress=progress
        )

    async def cancel(self, address: str, transaction_id: bytes, reason: int) -> None:
        """Cancel an RSP session on both sides for a reason of ``es10.CANCEL_REASONS``."""
        await downloading.cancel(self, address, transaction_id, reason)

    # --------------------------------------------------------------------------------------------- profile states

    async def enable(self, profile: bytes, *, refresh: bool = True) -> None:
        """Enable a profile by ICCID or ISD-P AID. Card and terminal must be started again afterwards."""
        await self._order("EnableProfile", es10.enable_profile(profile, refresh))

    async def disable(self, profile: bytes, *, refresh: bool = True) -> None:
        """Disable a profile by ICCID or ISD-P AID. Card and terminal must be started again afterwards."""
        await self._order("DisableProfile", es10.disable_profile(profile, refresh))

    async def delete(self, profile: bytes) -> None:
        """Delete a disabled profile by ICCID or ISD-P AID. Raises ProtectedError on protected slots."""
        try:
            await self._order("DeleteProfile", es10.delete_profile(profile))
        except (CardStatusError, ProtocolError):
            # "Command failed" is not "card unchanged".
            if any(profile in (one.iccid, one.isdp_aid) for one in await self.profiles()):
                raise

    async def nickname(self, iccid: bytes, text: str) -> None:
        """Give a profile a nickname; an empty text removes it."""
        await self._order("SetNickname", es10.set_nickname(iccid, text))

    async def set_default_address(self, address: str) -> None:
        """Set the default SM-DP+ address; an empty one clears it (ES10a.SetDefaultDpAddress)."""
        await self._order("SetDefaultDpAddress", es10.set_default_dp_address(address))

    async def default_code(self) -> ActivationCode:
        """Return where the profile for this EID waits: at the default SM-DP+. Raises AgentError when there is none."""
        address, _ = await self.addresses()
        if not address:
            raise AgentError(
                "the eUICC has no default SM-DP+ address", hint="esim-bench euicc default-address SLOT HOST"
            )
        return ActivationCode(address)

    async def load_crl(self, crl: bytes) -> tuple[int, ...]:
        """Load a CRL (DER); return the numbers of the partial CRLs that are still missing (ES10b.LoadCRL).

        Raises AgentError with the standard's name of the result.
        """
        response = await self.card.es10(es10.load_crl(crl))
        error = _read(es10.error_code, response)
        if error is not None:
            raise AgentError("the eUICC refused LoadCRL", code=error[2])
        return _read(es10.missing_crl_parts, response)

    async def memory_reset(
        self, *, operational: bool = False, test: bool = False, default_dp_address: bool = False
    ) -> None:
        """Reset parts of the eUICC's memory (ES10c.eUICCMemoryReset). Raises ProtectedError on protected slots."""
        request = es10.memory_reset(operational=operational, test=test, default_dp_address=default_dp_address)
        await self._order("eUICCMemoryReset", request)

    async def _order(self, function: str, request: bytes) -> None:
        code, name = _read(es10.result_code, await self.card.es10(request))
        if code != 0:
            raise AgentError(f"the eUICC refused {function}", code=name)

    # --------------------------------------------------------------------------------------------- notifications

    async def notifications(self) -> list[es10.NotificationMetadata]:
        """Return the metadata of the waiting notifications, oldest first (ES10b.ListNotification)."""
        try:
            found = _read(es10.notification_list, await self.card.es10(es10.list_notifications()))
        except CardStatusError:
            # Some eUICCs refuse the list after a change and still give the notifications themselves.
            found = [one.metadata for one in await self._pending(None)]
        return sorted(found, key=lambda one: one.seq)

    async def pending(self, operation: str | None = None) -> list[es10.PendingNotification]:
        """Return the waiting notifications themselves, oldest first, of one operation or all; the eUICC keeps them."""
        found: list[es10.PendingNotification] = []
        for waiting in await self.notifications():
            if operation in (None, waiting.operation):
                found += await self._pending(waiting.seq)
        return found

    async def _pending(self, seq: int | None) -> list[es10.PendingNotification]:
        response = await self.card.es10(es10.retrieve_notifications(seq))
        return _read(es10.pending_notifications, response)

    async def deliver_notifications(self, seqs: Container[int] | None = None) -> list[es10.NotificationMetadata]:
        """Deliver the waiting notifications in the order of their numbers, and remove each that was acknowledged.

        Where an address does not acknowledge, its later ones wait (their order is part of their meaning) and the others
        are delivered; the first such failure is raised in the end. ``seqs``: only those of these numbers.
        """
        delivered: list[es10.NotificationMetadata] = []
        failures: dict[str, DeviceError] = {}
        for waiting in await self.notifications():
            if waiting.address in failures or (seqs is not None and waiting.seq not in seqs):
                continue
            for pending in await self._pending(waiting.seq):
                try:
                    await self.es9.notify(pending.address, pending.raw)
                except DeviceError as exc:
                    failures[waiting.address] = exc
                    break
                await self._remove(pending.seq)
                delivered.append(pending.metadata)
        for failure in failures.values():
            raise failure
        return delivered

    async def remove_notification(self, seq: int) -> None:
        """Remove a notification, delivered or not. Raises AgentError (nothingToDelete)."""
        await self._order("RemoveNotificationFromList", es10.remove_notification(seq))

    async def _remove(self, seq: int) -> None:
        try:
            await self._order("RemoveNotificationFromList", es10.remove_notification(seq))
        except AgentError as exc:
            # Gone is gone: an earlier try may have removed it without our hearing of it.
            if exc.code != "nothingToDelete":
                raise


def _read(parse: Callable[[bytes], T], response: bytes) -> T:
    """Parse an answer of the eUICC: what is malformed is its fault, not the operator's."""
    try:
        return parse(response)
    except CodecError as exc:
        raise ProtocolError(f"malformed answer of the eUICC: {exc}") from exc
