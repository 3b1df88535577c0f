"""The configuration's [[offers]], changed in place: comments, order, mode and owner stay."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from agent.config import Config, parse
from agent.config.checks import price_rule
from agent.config.model import Offer
from agent.config.units import read_percent, read_rate_or_rule
from faults import UsageFault


@dataclass(frozen=True, slots=True)
class Ask:
    """What an offer asks, in the file's words: a price, or a rule with what belongs to it."""

    price: str
    floor: str = ""
    undercut: str = ""

    @property
    def by_rule(self) -> bool:
        return "cost" in self.price or bool(self.undercut)

    def __str__(self) -> str:
        return ", ".join(
            filter(None, (self.price, self.floor and f"floor {self.floor}",
                          self.undercut and f"undercut {self.undercut}"))
        )  # fmt: skip


def offer_of(config: Config, instance_type: str, ask: Ask) -> Offer:
    """The offer as the file would have it. Raises UsageFault that says what is wrong with it."""
    known = next((one for one in config.offers if one.type == instance_type), None)
    try:
        offer = Offer(
            instance_type,
            read_rate_or_rule(ask.price),
            known.cost if known else None,
            read_rate_or_rule(ask.floor) if ask.floor else None,
            read_percent(ask.undercut or "0%"),
        )
    except ValueError as wrong:
        raise UsageFault(str(wrong)) from wrong
    for key, problem in price_rule(offer, config):
        raise UsageFault(f"{key} {problem}")
    return offer


def write_offer(path: Path, instance_type: str, ask: Ask | None) -> str:
    """Make the file offer the type at that, or not at all. Returns what it was before.

    Raises UsageFault: it can't be read or written, and is as it was.
    """
    before, document = read_document(path)
    offers = _offers(document)
    known = next((item for item in offers if item.get("type") == instance_type), None)
    if ask is None:
        if known is not None:
            offers.remove(known)
    elif known is not None:
        _change(known, ask)
    else:
        said = {"price": ask.price, "floor": ask.floor, "undercut": ask.undercut}
        kept = {key: value for key, value in said.items() if value}
        offers.append(tomlkit.item({"type": instance_type, **kept}))
    if not offers:
        document.pop("offers", None)
    put_back(path, sound(path, document))
    return before


def read_document(path: Path) -> tuple[str, Any]:
    """The file's text, and that as TOML to change. Raises UsageFault."""
    try:
        before = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageFault(f"{path}: {error.strerror}; it must say what is offered") from error
    # tomlkit writes what comes next behind a last line that no line end closes.
    return before, tomlkit.parse(before if before.endswith("\n") else f"{before}\n")


def sound(path: Path, document: Any) -> str:
    """The changed document's text. Raises ConfigFault: the agent would not start by it."""
    text = tomlkit.dumps(document)
    parse(text, name=str(path), base=path.absolute().parent, environ=os.environ)
    return text


def _offers(document: Any) -> Any:
    """The list of sections. One in brackets takes no section: its offers go to the file's end."""
    offers = document.get("offers")
    if isinstance(offers, tomlkit.items.AoT):
        return offers
    document.pop("offers", None)
    document["offers"] = sections = tomlkit.aot()
    for offer in offers or ():
        sections.append(tomlkit.item(dict(offer)))
    return sections


def _change(known: Any, ask: Ask) -> None:
    """A price that a person says ends the rule that was there."""
    known["price"] = ask.price
    for key, value in (("floor", ask.floor), ("undercut", ask.undercut)):
        if value:
            known[key] = value
        elif key in known:
            known.remove(key)


def put_back(path: Path, text: str) -> None:
    """All or nothing, with the mode, owner and line ends it had, where a link leads. Raises
    UsageFault."""
    _replace(path.resolve(), text, like=path.resolve())


def put_beside(config: Path, name: str, text: str) -> None:
    """A file for the configuration to name, all or nothing: whoever reads the one, such as the
    service's account, reads the other, whatever is this person's umask. Raises UsageFault."""
    _replace((config.parent / name).resolve(), text, like=config.resolve())


def _replace(place: Path, text: str, like: Path) -> None:
    part = place.with_name(f".{place.name}.part")
    try:
        about, ends = like.stat(), "\r\n" if b"\r\n" in like.read_bytes() else "\n"
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", newline=ends) as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(handle, about.st_mode & 0o777)
            os.fsync(handle)  # before the name leads to it: a power cut leaves one of the two
        if os.geteuid() == 0:
            os.chown(part, about.st_uid, about.st_gid)
        part.replace(place)
    except OSError as error:
        with suppress(OSError):  # where nothing can be written, nothing is left
            part.unlink(missing_ok=True)
        raise UsageFault(f"{place}: {_why(error)}; it is as it was") from error


def _why(error: OSError) -> str:
    if error.errno == errno.EBUSY:  # a container's way to give one file
        return "it is mounted by itself, so it can't be replaced: mount its folder instead"
    advice = _ADVICE.get(error.errno or 0)
    return f"{error.strerror}: {advice}" if advice else str(error.strerror)


# Written in place it would be half a file after a power cut, by which no agent starts.
_ADVICE = {
    errno.EROFS: "change it where it is mounted from, then reload the agent (SIGHUP)",
    errno.EACCES: "do it as root, or as who may write its folder",
}
