"""Every dependency is declared, pinned, used, and has its reason in the docs."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.trees import tree

ROOT = Path(__file__).parent.parent
PINS = ROOT / "constraints.txt"

pytestmark = pytest.mark.unit

OURS = {
    *("agent", "bench", "cloud", "commands", "contracts", "devnet", "enclave", "systemd", "tests"),
    *("cli", "faults", "foreign_json", "oyster_provider", "program", "release"),
}
# What we import by name and get with another: one library in several distributions.
COMES_WITH = {
    "botocore": "boto3",
    "eth-abi": "web3",
    "eth-account": "web3",
    "eth-keys": "web3",
    "eth-typing": "web3",
    "eth-utils": "web3",
    "hexbytes": "web3",
    "requests": "web3",
    "rlp": "web3",
    "urllib3": "ipfshttpclient",
    "py-evm": "eth-tester",
    "werkzeug": "flask",
    "packaging": "pytest",
    "py-cid": "ipfshttpclient",
}
# Run, or looked for by what we run; never imported by us.
TOOLS = {
    "build": "make dist",
    "cyclonedx-bom": "make dist",
    "flask": "moto's server",
    "flask-cors": "moto's server",
    "import-linter": "make check",
    "mypy": "make check",
    "ruff": "make check",
    "pytest-socket": "pyproject's addopts",
    "pytest-timeout": "pyproject's timeout",
    "pytest-xdist": "make test",
    "types-boto3": "mypy",
    "types-pyyaml": "mypy",
}
# Imported while a contract is compiled, which the artifacts in the wheel make needless.
COMPILER = {ROOT / "contracts/compile.py": {"vyper"}}


def test_constraints__whatever_a_declared_one_brings__is_pinned() -> None:
    brought = {name for name, _extra in _closure(_declared("run", "devnet", "dev"))}
    assert brought - _pinned() == set()


def test_constraints__any_line__names_no_host() -> None:
    assert "://" not in PINS.read_text()


def test_requirements__what_a_provider_installs__is_pinned_with_digests() -> None:
    """As `pip install --require-hashes` wants it: every name that is brought, in one version."""
    text = (ROOT / "requirements.txt").read_text()
    entries = [entry.split() for entry in text.replace("\\\n", " ").splitlines()]
    pins = {
        Requirement(" ".join(words).partition("--hash")[0]): words
        for words in entries
        if words[0] != "#"
    }
    assert {
        str(one) for one, words in pins.items() if "--hash=sha256:" not in " ".join(words)
    } == set()
    found = {canonicalize_name(one.name) for one in pins}
    assert {name for name, _extra in _closure(_declared("run"))} - found == set()
    here = [one for one in pins if one.marker is None or one.marker.evaluate()]
    exact = {f"{canonicalize_name(one.name)}{one.specifier}" for one in here}
    known = PINS.read_text().lower().replace("_", "-").splitlines()
    assert exact - {line.partition(" ")[0] for line in known} == set()
    assert "://" not in text


def test_dependencies__each_declared_one__has_a_reason() -> None:
    text = (ROOT / "docs/decisions/dependencies.md").read_text().lower()
    names = {canonicalize_name(each.name) for each in _declared("run", "devnet", "dev")}
    assert {name for name in names if name.removeprefix("pytest") not in text} == set()


def test_dependencies__each_declared_one__is_used() -> None:
    names = {canonicalize_name(each.name) for each in _declared("run", "devnet", "dev")}
    assert names - _imported(_sources("")) - set(TOOLS) == set()


def test_dependencies__each_tool__is_declared() -> None:
    names = {canonicalize_name(each.name) for each in _declared("run", "devnet", "dev")}
    assert set(TOOLS) - names == set()
    assert set(COMES_WITH.values()) - names == set()


@pytest.mark.parametrize(
    ("packages", "groups"),
    [
        (
            ("agent", "cli.py", "cloud", "commands", "contracts", "enclave", "faults.py"),
            ("run", "notify", "several"),
        ),
        (("oyster_provider", "program.py"), ("run",)),
        (("devnet",), ("run", "devnet")),
        (("bench", "release", "tests"), ("run", "devnet", "dev")),
    ],
)
def test_imports__of_each_package__come_with_the_extra_that_it_needs(
    packages: tuple[str, ...], groups: tuple[str, ...]
) -> None:
    declared = {canonicalize_name(each.name) for each in _declared(*groups)}
    sources = [path for package in packages for path in _sources(package)]
    imported = {COMES_WITH.get(name, name) for name in _imported(sources)}
    assert imported - declared == set()


def _declared(*groups: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = {"run": project["dependencies"], **project["optional-dependencies"]}
    return [Requirement(text) for group in groups for text in known[group]]


def _pinned() -> set[str]:
    return {canonicalize_name(pin) for pin in re.findall(r"^(\S+)==", PINS.read_text(), re.M)}


def _closure(wanted: Iterable[Requirement]) -> set[tuple[str, str]]:
    """Names with their extras, of all that pip installs for these on this Python."""
    found: set[tuple[str, str]] = set()
    waiting = list(wanted)
    while waiting:
        each = waiting.pop()
        for extra in {"", *each.extras}:
            if (canonicalize_name(each.name), extra) not in found:
                found.add((canonicalize_name(each.name), extra))
                waiting += _brought(each.name, extra)
    return found


def _brought(name: str, extra: str) -> Iterator[Requirement]:
    for text in requires(name) or ():
        each = Requirement(text)
        if each.marker is None or each.marker.evaluate({"extra": extra}):
            yield each


def _sources(package: str) -> list[Path]:
    if not package:
        return [path for each in sorted(OURS) for path in _sources(each)]
    where = ROOT / package
    return sorted(where.rglob("*.py")) if where.is_dir() else [where.with_suffix(".py")]


@cache
def _distributions() -> dict[str, str]:
    """The distribution of each module; stubs are of the whole whose extra brings them."""
    found = {module: canonicalize_name(of[0]) for module, of in packages_distributions().items()}
    return {
        module: "types-boto3" if name.startswith("types-boto3-") else name
        for module, name in found.items()
    }


def _imported(sources: Iterable[Path]) -> set[str]:
    """The distributions that these files import, wherever in them, but for types alone."""
    modules = {(path, module) for path in sources for module in _modules(path)}
    foreign = {
        module
        for path, module in modules
        if module not in OURS | sys.stdlib_module_names | COMPILER.get(path, set())
    }
    return {_distributions()[module] for module in foreign}


def _modules(path: Path) -> Iterator[str]:
    parsed = tree(path.read_text())
    for_types = {
        below
        for node in ast.walk(parsed)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for below in ast.walk(node)
    }
    for node in ast.walk(parsed):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
