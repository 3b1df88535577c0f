"""An operator's files, as they are, by the real program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.config import load

from .program import answering, oyster_here

pytestmark = pytest.mark.integration

RATES = [
    {"region": "us-east-1", "rate_cards": [
        {"instance": "c6a.xlarge", "min_rate": "29997916748586", "cpu": 2, "memory": 4096,
         "arch": "amd64"}]},
]  # fmt: skip
TRAFFIC = [{"region": "US East", "region_code": "us-east-1", "rate": "90000000000000000"}]
OWNER = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(
        '# mine\n[chain]\nchain_id = 42161\nmarket = "marketv1"\nrpc_urls = ["http://n.example"]\n'
        f'provider = "{OWNER}"\nfinality = "40"\n[aws]\nregions = ["us-east-1"]\n'
    )
    return file


def test_import__of_all_files__is_what_the_agent_goes_by(config: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "r.json").write_text("\ufeff" + json.dumps(RATES))  # as a Windows editor keeps it
    (given / "b.json").write_text(json.dumps(TRAFFIC))
    (given / "owners.txt").write_text(f"\ufeff{OWNER}\r\n\r\n# a friend\r\n{OWNER}\r\n")
    (given / "images.txt").write_text("ab" * 32 + "  enclave.eif\n" + "ab" * 32 + "\n")
    words = (
        "import", "--config", str(config), "--rates", str(given / "r.json"),
        "--bandwidth", str(given / "b.json"), "--deny-owners", str(given / "owners.txt"),
        "--allow-images", str(given / "images.txt"),
    )  # fmt: skip
    before = config.read_text()
    dry = oyster_here(*words, "--dry-run")
    assert (dry.returncode, "1 rate cards in 1 regions" in dry.stdout) == (0, True), dry.stderr
    assert config.read_text() == before
    assert oyster_here(*words, "--yes").returncode == 0
    loaded = load(config, {})
    assert loaded.cards.rates_file == "rates.json"
    assert json.loads((config.parent / "rates.json").read_text()) == RATES
    assert [owner.lower() for owner in loaded.jobs.deny_owners] == [OWNER]
    assert loaded.jobs.allow_images == ("ab" * 32,)
    assert config.read_text().startswith("# mine\n"), "comments stay"


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [("--rates", "{}", "no list"), ("--rates", '[{"region": "us-east-1"}]', "[0]"),
     ("--bandwidth", "[1]", "no list of JSON objects"), ("--deny-owners", "0x12\n", "deny_owners"),
     ("--allow-images", "zz\n", "allow_images"), ("--allow-images", "# none\n", "everything"),
     ("--allow-owners", "", "everything")],
)  # fmt: skip
def test_import__of_something_else__says_where_and_changes_nothing(
    config: Path, tmp_path: Path, option: str, text: str, said: str
) -> None:
    (tmp_path / "file").write_text(text)
    before = config.read_text()
    for last in ("--dry-run", "--yes"):
        words = ("import", "--config", str(config), option, str(tmp_path / "file"), last)
        done = oyster_here(*words)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert config.read_text() == before


def test_import__beside_an_agent_that_goes_by_another_file__is_refused_and_changes_nothing(
    config: Path, tmp_path: Path
) -> None:
    (tmp_path / "r.json").write_text(json.dumps(RATES))
    others, before = tmp_path / "others.toml", config.read_text()
    others.write_text(before)
    words = ("import", "--config", str(config), "--rates", str(tmp_path / "r.json"), "--yes")
    for place, code in ((others, 3), (config, 0)):
        with answering(json.dumps({"jobs": [], "config": str(place)}).encode()) as listen:
            done = oyster_here(*words, environ={"OYSTER_STATUS__LISTEN": listen})
        assert done.returncode == code, done.stderr
        assert (config.read_text() == before) == bool(code)
        assert (f"goes by {others}, not by" in done.stderr) == bool(code)
