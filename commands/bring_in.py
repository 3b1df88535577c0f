"""`oyster-provider import`: the files of an operator of Marlin's control plane, as they are.

Rates and traffic are copied beside the configuration and named in it; lists go into it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.terminal import (
    ConfigOption,
    DryRunOption,
    JsonOption,
    YesOption,
    agree,
    print_json,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def import_(
    rates: Annotated[
        Path | None, typer.Option(help="rates.json: cards by region.", dir_okay=False)
    ] = None,
    bandwidth: Annotated[
        Path | None, typer.Option(help="bandwidth.json: what a GB costs.", dir_okay=False)
    ] = None,
    allow_owners: Annotated[
        Path | None, typer.Option(help="Users that are served, an address a line.")
    ] = None,
    deny_owners: Annotated[
        Path | None, typer.Option(help="Users that are not, an address a line.")
    ] = None,
    allow_images: Annotated[
        Path | None, typer.Option(help="Images that are served, a SHA-256 a line.")
    ] = None,
    deny_images: Annotated[
        Path | None, typer.Option(help="Images that are not, a SHA-256 a line.")
    ] = None,
    config: ConfigOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take over an operator's rates.json, bandwidth.json and list files."""
    from agent.config.load import path_of
    from commands.config_edit import with_settings
    from commands.offer_file import put_back, put_beside
    from faults import UsageFault

    path = path_of(config)
    files = {"rates_file": rates, "bandwidth_file": bandwidth}
    lists = {
        "allow_owners": allow_owners, "deny_owners": deny_owners,
        "allow_images": allow_images, "deny_images": deny_images,
    }  # fmt: skip
    copies = _copies({name: file for name, file in files.items() if file}, path.parent)
    read = {name: _list(name, file) for name, file in lists.items() if file}
    if not copies and not read:
        raise UsageFault("name a file: --rates, --bandwidth, --allow-owners and so on")
    said = {**{name: one.what for name, one in copies.items()},
            **{name: f"{len(lines)} entries" for name, lines in read.items()}}  # fmt: skip
    if not as_json:
        say("\n".join(f"{name}: {what}" for name, what in said.items()))
    values: dict[tuple[str, str], Any] = {
        ("cards", name): one.to.name for name, one in copies.items()
    }
    text = with_settings(path, values | {("jobs", name): each for name, each in read.items()})
    if not dry_run:
        _read_by_the_agent(path)
        agree(f"Write these into {path}?", yes=yes, as_json=as_json)
        for one in copies.values():
            put_beside(path, one.to.name, one.text)
        put_back(path, text)
    if as_json:
        print_json({"read": said, "dry_run": dry_run})


def _read_by_the_agent(path: Path) -> None:
    """Raises Refused: an agent runs, and goes by another file."""
    from contextlib import suppress

    from agent.config import load
    from commands.agent_asked import ask_agent, require_same_file
    from faults import RetryLater, UsageFault

    with suppress(RetryLater, UsageFault):  # none runs
        require_same_file(ask_agent(load(path).status.listen), path)


class _Copy:
    """One file that is kept as it is: its text, where it goes, what is in it."""

    def __init__(self, text: str, to: Path, what: str) -> None:
        self.text, self.to, self.what = text, to, what


def _copies(files: Mapping[str, Path], beside: Path) -> dict[str, _Copy]:
    """Raises UsageFault: one is not of the operators' format; the entry is named."""
    from agent.markets.marketv1.cards import read_bandwidth, read_rates
    from faults import UsageFault

    found = {}
    for name, file in files.items():
        text = _text(file)
        try:
            if name == "rates_file":
                cards = read_rates(text)
                regions = {card.instance_type.region for card in cards}
                what = f"{len(cards)} rate cards in {len(regions)} regions"
            else:
                what = f"traffic of {len(read_bandwidth(text))} regions"
        except UsageFault as fault:
            raise UsageFault(f"{file}: {fault}") from None
        to = beside / ("rates.json" if name == "rates_file" else "bandwidth.json")
        found[name] = _Copy(text, to, what)
    return found


def _list(name: str, file: Path) -> Sequence[str]:
    """The entries of a list, a line each; empty lines and comments are passed over. Raises
    UsageFault: it allows nothing, which in the configuration would be everything."""
    from faults import UsageFault

    found = (line.strip() for line in _text(file).splitlines())
    lines = [line for line in found if line and not line.startswith("#")]
    if name.startswith("allow_") and not lines:
        raise UsageFault(f"{file}: names nothing, and an empty {name} allows everything")
    return list(dict.fromkeys(_digest_in(line) if "images" in name else line for line in lines))


def _digest_in(line: str) -> str:
    """The one digest in a line: the control plane looks for an image's within it, so that lists
    are what `sha256sum` printed, names of files and all. A line without one is as it is."""
    digests = re.findall(r"\b[0-9a-fA-F]{64}\b", line)
    return digests[0] if len(digests) == 1 else line


def _text(file: Path) -> str:
    from faults import UsageFault

    try:
        return file.read_text(encoding="utf-8-sig")  # editors of Windows begin with a mark
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise UsageFault(f"{file}: {said}") from None
