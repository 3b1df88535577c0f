"""The page and the file made from the model."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import ConfigFault, parse
from agent.config.fields import KEY, key_of, setting_of
from agent.config.model import Config, Offer
from agent.config.reference import page
from agent.config.template import render, write
from faults import Refused

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.unit

ANSWERS: dict[str, dict[str, Any]] = {
    "": {"state_dir": "/var/lib/x"},
    "chain": {"chain_id": 1, "registry": "0x" + "1" * 40, "rpc_urls": ["https://a.example"]},
    "wallet": {"keystore_file": "credential:k", "password_file": "credential:p"},
    "aws": {"regions": ["us-east-1"], "elastic_ip": True},
}


def test_reference_page__in_docs__is_current() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == page(), (
        "run: python -m agent.config.reference > docs/configuration.md"
    )


def test_every_setting__has_a_reason_and_a_default_within_its_bounds() -> None:
    for section in (Config, Offer, *_sections()):
        for field in dataclasses.fields(section):
            if KEY not in field.metadata:
                continue
            setting = setting_of(field)
            assert setting.reason.endswith("."), field.name
            assert "|" not in setting.reason
            if setting.bounds and not setting.required:
                default: Any = field.default
                assert setting.bounds[0] <= default <= setting.bounds[1], field.name


EXAMPLES = re.compile(r"^\| `(\w+)` \|.* Example: `(.+)`\. \|$", re.MULTILINE)
# What an example can't stand without.
COMPANIONS: dict[str, dict[str, Any]] = {
    "keystore_file": {"password_file": "credential:p"},
    "password_file": {"keystore_file": "credential:k"},
    "kms_key_id": {},
}


def _examples() -> list[tuple[str, str, str]]:
    """Section, key and example of each row of the page that shows one."""
    parts = re.split(r"^## (?:\[+([a-z]+)\]+)?.*$", page(), flags=re.MULTILINE)[1:]
    return [
        (section or "", key, example)
        for section, text in zip(parts[::2], parts[1::2], strict=True)
        for key, example in EXAMPLES.findall(text)
    ]


@pytest.mark.parametrize(("section", "key", "example"), _examples())
def test_reference_page__each_example__is_taken_as_it_stands(
    section: str, key: str, example: str, tmp_path: Path
) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "rpc-urls").write_text("https://node.example\n")
    (tmp_path / "credentials" / "rpc-urls").chmod(0o600)
    answers = {name: dict(values) for name, values in ANSWERS.items()}
    value = tomllib.loads(f"x = {example}")["x"]
    offer = {"type": "us-east-1/c6a.xlarge", "price": "0.17/h"}
    if key in COMPANIONS:
        answers["wallet"] = {}
    if section == "offers":
        offer |= {"price": "cost * 2"} if key == "floor" else {}  # it belongs to a rule
        offer[key] = value
    else:
        answers.setdefault(section, {}).update({key: value, **COMPANIONS.get(key, {})})
    config = parse(render(answers, [offer]), base=tmp_path)
    read = getattr(config.offers[0] if section == "offers" else getattr(config, section), key)
    assert read, f"{section}.{key}"


def test_reference_page__examples__are_found_in_every_form() -> None:
    found = {(section, key) for section, key, _ in _examples()}
    assert {("images", "kubo_api"), ("offers", "price"), ("jobs", "allow_owners")} <= found


def test_template__answered__is_a_valid_file_with_those_answers() -> None:
    text = render(ANSWERS, [{"type": "us-east-1/c6a.xlarge", "price": "0.17/h"}])
    config = parse(text)
    assert config.aws.elastic_ip is True
    assert str(config.offers[0].price) == "0.17/h"
    assert max(map(len, text.splitlines())) <= 140


def test_template__every_commented_default__is_the_default() -> None:
    text = render(ANSWERS)
    for section in _sections():
        for field in dataclasses.fields(section):
            assert f"{key_of(field.name)} = " in text
    bare = "\n".join(
        line.removeprefix("# ") if " = " in line else line for line in text.splitlines()
    )
    tomllib.loads(bare.replace("# [[offers]]", "[[offers]]"))


def test_template__without_answers__is_refused_for_what_is_missing() -> None:
    with pytest.raises(ConfigFault, match=r"chain_id: is missing"):
        parse(render({}))


def test_write__a_file_is_there__stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "config.toml"
    write(path, "a = 1\n")
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Refused, match="stays as it is"):
        write(path, "b = 1\n")
    assert path.read_text() == "a = 1\n"


def _sections() -> list[type[Any]]:
    return [
        type(getattr(Config(), field.name))
        for field in dataclasses.fields(Config)
        if dataclasses.is_dataclass(getattr(Config(), field.name))
    ]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_template__any_text_as_an_answer__reads_back_the_same(text: str) -> None:
    written = render({"": {"state_dir": text}})
    assert tomllib.loads(written)["state_dir"] == text
