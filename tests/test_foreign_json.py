"""JSON of others goes through one door that looks at its depth first."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreign_json import MOST_DEPTH, TooDeep, deeper_than, loads

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[1]
# Who reads JSON without that door, and why so: mostly what this program wrote itself.
OWN = {
    "agent/config/running.py": "its own note of what it runs with, bounded before it is read",
    "agent/process/reloading.py": "its own note beside the journal",
    "agent/process/crashes.py": "its own note of crashes",
    "agent/markets/marketv1/cards.py": "looks at the depth itself, to say it in its words",
    "agent/markets/marketv1/metadata.py": "looks at the depth itself, to say it in its words",
    "agent/chain/wallet.py": "the operator's own key file",
    "agent/chain/answers.py": "looks at the depth itself, then parses item by item",
    "enclave/fetch/store.py": "its own records of images",
    "cloud/ec2/pricing.py": "a price that it kept",
    "cloud/ec2/spots.py": "its own notes of launches",
    "cloud/ec2/catalog.py": "what it kept of types",
    "cloud/account/bake.py": "what the builder of our own image said",
    "cloud/account/policies.py": "the project's own templates",
    "cloud/account/setup.py": "a policy in the operator's own account, by a person's command",
    "commands/devnet_jobs.py": "of the devnet on this machine",
    "commands/guide.py": "the answers that a person saved",
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_json_loads__of_each_module__is_of_what_the_program_wrote_or_behind_the_door() -> None:
    plain = re.compile(r"(?<!foreign_)\bjson\.loads?\(")
    found = {
        str(path.relative_to(ROOT))
        for room in ("agent", "cloud", "commands", "enclave")
        for path in (ROOT / room).rglob("*.py")
        if plain.search(path.read_text())
    }
    # The host program is the standard library alone: it catches RecursionError where it reads.
    assert {one for one in found if not one.startswith("enclave/host/")} == set(OWN)


@given(JSON)
def test_loads__whatever_is_json__is_read_as_ever(value: Any) -> None:
    text = json.dumps(value)
    assert loads(text) == loads(text.encode()) == loads(text.encode("utf-16")) == value


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
@pytest.mark.parametrize("closed", [True, False])
def test_loads__nested_deeper_than_anything_is__is_refused_unparsed(
    opening: str, closed: bool
) -> None:
    closing = "".join({"[": "]", "{": "}"}.get(one, "") for one in reversed(opening))
    for depth in (MOST_DEPTH + 1, 10**5):
        with pytest.raises(TooDeep):
            loads(opening * depth + "1" + closing * depth * closed)
    fits = MOST_DEPTH // (opening.count("[") + opening.count("{"))
    assert loads(opening * fits + "1" + closing * fits)


@given(st.text('[]{}"\\a,', max_size=300))
def test_deeper_than__any_text__counts_what_is_open_outside_of_strings(text: str) -> None:
    deep = max((depth for depth in range(60) if deeper_than(text, depth)), default=-1) + 1
    assert deep <= text.count("[") + text.count("{")
    assert not deeper_than(json.dumps(text), 0)
