"""``esim-bench package``: eSIM profile packages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esim_bench.cli.common import JsonOption, app, print_json, say, table

if TYPE_CHECKING:
    from esim_bench.codec.saip import ProfilePackage

cli = app("eSIM profile packages (TCA interoperable format).")


@cli.command("build")
def build(
    profile: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A profile of profiles/, or a TOML file.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where to. Default: NAME.der here.")] = None,
    json: JsonOption = False,
) -> None:
    """Build a profile package from a readable profile."""
    from esim_bench import data
    from esim_bench.codec.saip import ProfilePackage
    from esim_bench.errors import ConfigError
    from esim_bench.profile_file import load_profile

    path = Path(profile) if profile.endswith(".toml") else data.profile_file(profile)
    built = load_profile(path)
    target = output if output is not None else Path(f"{path.stem}.der")
    try:
        target.write_bytes(built.upp)
    except OSError as exc:
        raise ConfigError(f"cannot write the package: {exc.strerror}", where=str(target)) from exc
    package = ProfilePackage.parse(built.upp)
    document = {
        "package": str(target),
        "bytes": len(built.upp),
        "elements": len(package.elements),
        "iccid": package.iccid_text,
        "metadata": built.metadata.hex().upper(),
    }
    if json:
        print_json(document)
    else:
        say(f"{target}: {len(built.upp)} bytes, {len(package.elements)} elements, ICCID {package.iccid_text}")


@cli.command("inspect")
def inspect(
    file: Annotated[Path, typer.Argument(help="Profile package: concatenated profile elements, DER.")],
    json: JsonOption = False,
) -> None:
    """Show what is in a profile package, element by element."""
    from esim_bench.codec.saip import ProfilePackage
    from esim_bench.errors import CodecError
    from esim_bench.rack.world import read_file

    raw = read_file(file)
    try:
        document = describe(ProfilePackage.parse(raw, deep=True))
    except CodecError as exc:
        raise CodecError(str(exc), where=str(file)) from exc
    if json:
        print_json({"file": str(file), **document})
        return
    for key in ("type", "version", "iccid", "imsi", "bytes"):
        say(f"{key:<10} {document[key] or '-'}")
    say(f"{'services':<10} {', '.join(document['services']) or '-'}")
    say(f"{'templates':<10} {', '.join(document['templates']) or '-'}\n")
    table(
        ["#", "offset", "element", "id", "mandated", "bytes", "files"],
        [
            [
                e["index"],
                e["offset"],
                e["kind"],
                "-" if e["identification"] is None else e["identification"],
                "yes" if e["mandated"] else "no",
                e["bytes"],
                "-" if e["files"] is None else e["files"],
            ]
            for e in document["elements"]
        ],
    )


def describe(package: ProfilePackage) -> dict[str, Any]:
    """Return what is in a package as JSON values. Raises CodecError."""
    from esim_bench.codec.saip import ResolveContext, resolve_files

    context = ResolveContext()
    elements = [
        {
            "index": element.index,
            "offset": element.offset,
            "kind": element.kind,
            "identification": element.identification,
            "mandated": element.mandated,
            "bytes": len(element.raw),
            "files": len(resolve_files(element, context)) if element.has_files else None,
        }
        for element in package.elements
    ]
    return {
        "type": package.profile_type,
        "version": ".".join(map(str, package.version)),
        "iccid": package.iccid_text,
        "imsi": package.imsi,
        "bytes": len(package.raw),
        "services": list(package.services),
        "templates": list(package.templates),
        "elements": elements,
    }
