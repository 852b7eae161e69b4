"""``esim-bench euicc``: what is set on an eUICC besides its profiles: names, addresses, rules, revocations, resets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esim_bench.cli.common import (
    AllowDestructiveOption,
    JsonOption,
    RackOption,
    SlotArgument,
    print_json,
    say,
    table,
)

if TYPE_CHECKING:
    from esim_bench.rack.slot import Slot

MAX_CRL = 1024 * 1024


def nickname(
    slot: SlotArgument,
    iccid: Annotated[str, typer.Argument(metavar="ICCID", help="ICCID of the profile, or its end if unique.")],
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="The new nickname; none removes it.")] = "",
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Give a profile a nickname, or take it away."""
    from esim_bench.cli.euicc import pick
    from esim_bench.cli.session import on_slot
    from esim_bench.codec.es10 import iccid_to_text

    async def job(opened: Slot) -> dict[str, Any]:
        profile = await pick(opened, iccid)
        assert profile.iccid is not None
        await opened.lpa.nickname(profile.iccid, text)
        now = await pick(opened, iccid_to_text(profile.iccid))
        return {"slot": opened.name, "iccid": iccid_to_text(profile.iccid), "nickname": now.nickname or None}

    document = on_slot(rack, slot, job)
    if json:
        print_json(document)
    else:
        say(f"{document['iccid']}  {document['nickname'] or '(no nickname)'}")


def default_address(
    slot: SlotArgument,
    address: Annotated[str | None, typer.Argument(metavar="[HOST]", help="The new default SM-DP+ address.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Clear the default SM-DP+ address.")] = False,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Show the eUICC's server addresses, or set or clear its default SM-DP+ address."""
    from esim_bench.cli.session import on_slot
    from esim_bench.codec.activation_code import check_address
    from esim_bench.errors import ConfigError

    if address is not None and clear:
        raise ConfigError("an address and --clear", expected="one of them")
    if address is not None:
        check_address(address, "default SM-DP+ address")

    async def job(opened: Slot) -> dict[str, Any]:
        if address is not None or clear:
            await opened.lpa.set_default_address(address or "")
        default, root = await opened.lpa.addresses()
        return {"slot": opened.name, "default_smdp": default or None, "root_smds": root or None}

    document = on_slot(rack, slot, job)
    if json:
        print_json(document)
    else:
        say(f"default SM-DP+  {document['default_smdp'] or '-'}")
        say(f"root SM-DS      {document['root_smds'] or '-'}")


def eims(slot: SlotArgument, rack: RackOption = None, json: JsonOption = False) -> None:
    """List the eIMs that an IoT eUICC is associated with (SGP.32)."""
    from esim_bench.cli.session import on_slot

    async def job(opened: Slot) -> list[dict[str, Any]]:
        return [
            {
                "eim_id": one.eim_id,
                "id_type": one.id_type_name or None,
                "fqdn": one.fqdn,
                "counter": one.counter,
                "association_token": one.association_token,
                "protocols": list(one.protocols) if one.protocols is not None else None,
                "indirect_download": one.indirect_download,
                "tls_pinned": one.tls_key is not None,
            }
            for one in await opened.ipa.eims()
        ]

    rows = on_slot(rack, slot, job)
    if json:
        print_json(rows)
    elif not rows:
        say("no eIM is associated")
    else:
        table(
            ["eIM", "address", "counter", "token", "TLS"],
            [
                [
                    row["eim_id"],
                    row["fqdn"] or "-",
                    "-" if row["counter"] is None else row["counter"],
                    "-" if row["association_token"] is None else row["association_token"],
                    "pinned" if row["tls_pinned"] else "by the device's roots",
                ]
                for row in rows
            ],
        )


def rat(slot: SlotArgument, rack: RackOption = None, json: JsonOption = False) -> None:
    """Show the Rules Authorisation Table: whose profiles may carry which policy rules."""
    from esim_bench.cli.session import on_slot

    async def job(opened: Slot) -> list[dict[str, Any]]:
        return [
            {
                "rules": list(entry.rules),
                "operators": [
                    {
                        "mcc_mnc": _mcc_mnc(mcc_mnc),
                        "gid1": gid1.hex().upper() if gid1 is not None else None,
                        "gid2": gid2.hex().upper() if gid2 is not None else None,
                    }
                    for mcc_mnc, gid1, gid2 in entry.operators
                ],
                "consent_required": entry.consent_required,
            }
            for entry in await opened.lpa.authorisation_table()
        ]

    rows = on_slot(rack, slot, job)
    if json:
        print_json(rows)
    elif not rows:
        say("the table is empty: no profile may carry policy rules")
    else:
        table(
            ["rules", "operator", "GID1", "GID2", "consent"],
            [
                [
                    ", ".join(row["rules"]),
                    one["mcc_mnc"],
                    one["gid1"] or "any",
                    one["gid2"] or "any",
                    "asked for" if row["consent_required"] else "not asked for",
                ]
                for row in rows
                for one in row["operators"]
            ],
        )


def _mcc_mnc(coded: bytes) -> str:
    """Say an MCC and MNC (TS 24.008 10.5.1.13); an E stands for any digit."""
    digits = coded.hex().upper()
    if len(digits) != 6:
        return digits
    mcc, mnc = digits[1] + digits[0] + digits[3], digits[5] + digits[4] + digits[2]
    return f"{mcc}-{mnc.rstrip('F')}".replace("E", "x")


def load_crl(
    slot: SlotArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Certificate revocation list, DER or PEM.")],
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Load a certificate revocation list into the eUICC."""
    from esim_bench.cli.session import on_slot

    crl = _read_crl(file)

    async def job(opened: Slot) -> dict[str, Any]:
        return {"slot": opened.name, "missing_parts": list(await opened.lpa.load_crl(crl))}

    document = on_slot(rack, slot, job)
    if json:
        print_json(document)
    elif document["missing_parts"]:
        say(f"loaded; missing parts: {', '.join(map(str, document['missing_parts']))}")
    else:
        say("loaded")


def _read_crl(path: Path) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from esim_bench.errors import ConfigError

    try:
        raw = path.read_bytes()
        if len(raw) > MAX_CRL:
            raise ConfigError("CRL too large", where=str(path), expected=f"at most {MAX_CRL} bytes", found=len(raw))
        # A DER file goes out as it is, so that an eUICC can be given a broken one as well.
        if not raw.lstrip().startswith(b"-----BEGIN"):
            return raw
        return x509.load_pem_x509_crl(raw).public_bytes(Encoding.DER)
    except OSError as exc:
        raise ConfigError(f"cannot read the CRL: {exc.strerror}", where=str(path)) from exc
    except ValueError as exc:
        raise ConfigError("not a CRL", where=str(path), expected="a CertificateList in DER or PEM") from exc


def memory_reset(
    slot: SlotArgument,
    operational: Annotated[bool, typer.Option("--operational", help="Delete all operational profiles.")] = False,
    test: Annotated[bool, typer.Option("--test", help="Delete field-loaded test profiles.")] = False,
    default_address: Annotated[
        bool, typer.Option("--default-address", help="Reset the default SM-DP+ address.")
    ] = False,
    allow_destructive: AllowDestructiveOption = False,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Reset parts of the eUICC's memory; refused on protected slots."""
    from esim_bench.cli.session import on_slot
    from esim_bench.errors import ConfigError

    if not (operational or test or default_address):
        raise ConfigError("nothing to reset", expected="--operational, --test or --default-address, or several")

    async def job(opened: Slot) -> dict[str, Any]:
        await opened.memory_reset(operational=operational, test=test, default_dp_address=default_address)
        left = await opened.lpa.profiles()
        default, _ = await opened.lpa.addresses()
        return {"slot": opened.name, "profiles_left": len(left), "default_smdp": default or None}

    document = on_slot(rack, slot, job, allow_destructive=allow_destructive)
    if json:
        print_json(document)
    else:
        say(f"{document['profiles_left']} profiles left, default SM-DP+ {document['default_smdp'] or '-'}")
