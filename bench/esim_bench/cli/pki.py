"""``esim-bench pki``: test PKIs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from esim_bench.cli.common import JsonOption, app, print_json, say, table
from esim_bench.crypto.certificates import Certificate
from esim_bench.crypto.keys import Curve
from esim_bench.crypto.randomness import SystemRandomness
from esim_bench.servers.pki import DEFAULT_IIN, Pki, check_eid, create_pki, load_pki, make_eid

cli = app("Test PKIs: CI, EUM, eUICCs, SM-DP+, eIM.")

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the PKI.")]
FIRST_EUICC = 123456789012


@cli.command("init")
def init(
    directory: FolderArgument,
    curve: Annotated[Curve, typer.Option(help="Curve of all RSP certificates.")] = Curve.P256,
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Name or address of the servers beside localhost; may be repeated."),
    ] = None,
    eid: Annotated[
        list[str] | None,
        typer.Option(metavar="EID", help="An eUICC, 32 digits; may be repeated. Default: the test EID of SGP.26."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the PKI that is in the folder.")] = False,
    json: JsonOption = False,
) -> None:
    """Make a test PKI whose every part can be replaced by other people's files (see docs/pki.md)."""
    now_ns = time.time_ns()
    randomness = SystemRandomness()
    eids = [check_eid(text) for text in eid or ()] or [make_eid(FIRST_EUICC)]
    iins = sorted({item.hex()[:8] for item in eids} | {DEFAULT_IIN})
    pki = create_pki(randomness, curve=curve, hosts=host or (), now_ns=now_ns, iins=iins)
    for item in eids:
        pki = pki.with_euicc(item, randomness, now_ns=now_ns)
    pki.save(directory, force=force)
    _show(directory, load_pki(directory, now_ns=now_ns), json)


@cli.command("check")
def check(directory: FolderArgument, json: JsonOption = False) -> None:
    """Check a PKI: keys belong to certificates, chains hold, nothing has expired."""
    _show(directory, load_pki(directory, now_ns=time.time_ns()), json)


def _show(directory: Path, pki: Pki, json: bool) -> None:
    parts: list[tuple[str, bytes, bool]] = [("ci", pki.ci.certificate, pki.ci.key is not None)]
    if pki.eum is not None:
        parts.append(("eum", pki.eum.certificate, pki.eum.key is not None))
    parts += [(f"euicc/{eid.hex()}", pair.certificate, True) for eid, pair in pki.euiccs.items()]
    parts += [("smdp/auth", pki.smdp_auth.certificate, True), ("smdp/pb", pki.smdp_pb.certificate, True)]
    parts.append(("smdp/tls", pki.smdp_tls.certificate, True))
    eims = {"eim/sign": pki.eim, "eim/tls": pki.eim_tls}
    parts += [(name, pair.certificate, True) for name, pair in eims.items() if pair is not None]
    parts.append(("tls-root", pki.tls_root, False))
    rows = [_row(name, Certificate.load(der), has_key) for name, der, has_key in parts]
    if json:
        key_id = pki.ci_key.key_id.hex().upper()
        print_json({"dir": str(directory), "curve": pki.curve.value, "ci_key_id": key_id, "certificates": rows})
        return
    say(f"{directory}: {pki.curve.value}, CI key identifier {pki.ci_key.key_id.hex().upper()}\n")
    table(
        ["part", "role", "subject", "OID", "valid until", "key"],
        [
            [row["part"], row["role"] or "-", row["subject"], row["oid"] or "-", row["not_after"][:10], row["has_key"]]
            for row in rows
        ],
    )
    names = ", ".join(Certificate.load(pki.smdp_tls.certificate).hosts)
    say(f"\nTLS names: {names}")
    if pki.eim_tls is not None:
        say(f"TLS names of the eIM: {', '.join(Certificate.load(pki.eim_tls.certificate).hosts)}")
    say(f"TLS root for clients: {directory / 'tls-root.pem'}")


def _row(part: str, certificate: Certificate, has_key: bool) -> dict[str, Any]:
    return {
        "part": part,
        "role": certificate.role.label if certificate.role else None,
        "subject": certificate.subject,
        "oid": certificate.oid,
        "not_before": certificate.not_before.isoformat(),
        "not_after": certificate.not_after.isoformat(),
        "has_key": has_key,
    }
