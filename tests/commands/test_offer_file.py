"""The offers of a file as people write files: whatever it looks like, it loads afterwards."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from agent.config import load, parse
from commands.config_edit import write_settings
from commands.offer_file import Ask, put_beside, write_offer
from faults import UsageFault

pytestmark = pytest.mark.unit

KIND, OTHER = "us-east-1/c6a.xlarge", "us-east-1/c6a.2xlarge"
TOP = 'state_dir = "/srv/oyster"\n'
REST = """\
[chain]
chain_id = 31337
registry = "0x52908400098527886E0F7030069857D2E4169EE7"
rpc_urls = ["http://n.example"]
[wallet]
key_file = "key"
[aws]
regions = ["us-east-1"] # mine
"""
SECTION = f'[[offers]]\ntype = "{KIND}"\nprice = "0.17/h"'
IN_BRACKETS = f'offers = [{{type = "{KIND}", price = "0.17/h"}}]\n'
FILES = {
    "a section at the end": TOP + REST + SECTION + "\n",
    "no line end at the end": TOP + REST + SECTION,
    "windows line ends": (TOP + REST + SECTION + "\n").replace("\n", "\r\n"),
    "a list in brackets": IN_BRACKETS + TOP + REST,
    "a list over lines": IN_BRACKETS.replace("[{", "[\n  {").replace("}]", "}, # one\n]")
    + TOP
    + REST,
    "an empty list": "offers = []\n" + TOP + REST,
    "a mark of byte order": "\ufeff" + TOP + REST + SECTION + "\n",
    "none": TOP + REST,
    "none and no line end": (TOP + REST).removesuffix(" # mine\n"),
}


def _prices(path: Path) -> dict[str, str]:
    return {offer.type: str(offer.price) for offer in load(path, {}).offers}


@pytest.mark.parametrize("name", FILES)
def test_write_offer__however_the_file_is_written__it_loads_and_has_it(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(FILES[name].encode())
    before = load(path, {})
    for kind, price in ((KIND, "0.18/h"), (OTHER, "0.36/h"), (KIND, "0.19/h")):
        write_offer(path, kind, Ask(price))
    assert _prices(path) == {KIND: "0.19/h", OTHER: "0.36/h"}
    write_offer(path, OTHER, None)
    write_offer(path, KIND, None)
    left = load(path, {})
    assert (left.offers, left.chain, left.state_dir) == ((), before.chain, "/srv/oyster")
    assert (b"\r\n" in path.read_bytes()) == ("\r\n" in FILES[name])
    assert ("# mine" in path.read_text()) == ("# mine" in FILES[name])


@pytest.mark.parametrize("name", ["no line end at the end", "windows line ends"])
def test_write_settings__however_the_file_is_written__it_loads(tmp_path: Path, name: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(FILES[name].encode())
    write_settings(path, {("jobs", "per_owner"): 3})
    assert load(path, {}).jobs.per_owner == 3


def test_write_offer__what_the_file_lacks_is_in_the_environment__is_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(FILES["none"].replace('rpc_urls = ["http://n.example"]\n', ""))
    monkeypatch.setenv("OYSTER_CHAIN__RPC_URLS", "http://n.example")
    write_offer(path, KIND, Ask("0.17/h"))
    assert _prices_by(path, dict(os.environ)) == {KIND}


def _prices_by(path: Path, environ: dict[str, str]) -> set[str]:
    return {offer.type for offer in parse(path.read_text(), environ=environ).offers}


def test_write_offer__would_break_the_file__is_refused_and_leaves_it(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(FILES["none"])
    with pytest.raises(UsageFault, match="eu-west-1 is not in"):
        write_offer(path, "eu-west-1/c6a.xlarge", Ask("0.17/h"))
    assert path.read_text() == FILES["none"]


def test_write_offer__the_file_is_a_link__changes_where_it_leads(tmp_path: Path) -> None:
    path, link = tmp_path / "kept" / "config.toml", tmp_path / "config.toml"
    path.parent.mkdir()
    path.write_text(FILES["none"])
    link.symlink_to("kept/config.toml")
    write_offer(link, KIND, Ask("0.17/h"))
    assert link.is_symlink()
    assert _prices(path) == {KIND: "0.17/h"}


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EBUSY, "mount its folder"),
        (errno.EROFS, "Read-only file system: change it where it is mounted from"),
        (errno.EACCES, "Permission denied: do it as root"),
        (errno.ENOSPC, "No space"),
    ],
)
def test_write_offer__it_can_t_be_replaced__says_why_and_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    def refuses(*_given: object, **_named: object) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "config.toml"
    path.write_text(FILES["none"])
    for act in ("replace", "unlink"):
        monkeypatch.setattr(Path, act, refuses)
    with pytest.raises(UsageFault, match=f"{said}.*; it is as it was"):
        write_offer(path, KIND, Ask("0.17/h"))
    assert path.read_text() == FILES["none"]


def test_put_beside__whatever_the_umask__is_read_by_who_reads_the_configuration(
    tmp_path: Path,
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(FILES["none"])
    config.chmod(0o640)
    before = os.umask(0o077)
    try:
        put_beside(config, "rates.json", "[]")
    finally:
        os.umask(before)
    assert (tmp_path / "rates.json").stat().st_mode & 0o777 == 0o640


def test_put_beside__the_disk_is_full__says_so_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    config, rates = tmp_path / "config.toml", tmp_path / "rates.json"
    config.write_text(FILES["none"])
    rates.write_text("[1]")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageFault, match=r"rates.json: No space left on device; it is as it was"):
        put_beside(config, "rates.json", "[2]")
    assert rates.read_text() == "[1]"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.toml", "rates.json"]
