"""Links of the docs lead somewhere, and the files and modules they name are there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from pkgutil import resolve_name

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.unit

PACKAGES = (
    *("agent", "bench", "cloud", "commands", "contracts", "devnet", "docs"),
    *("enclave", "oyster_provider", "release", "systemd", "tests"),
)
_ANY = "|".join(PACKAGES)
# There only when something runs.
MADE_AT_RUN_TIME = {
    *("desired.json", "status.json", "/etc/oyster-provider/config.toml"),
    "bench/results/NAME.json",
}
# Pages of others that our comments give as their source.
OF_OTHERS = {"docs/attestation_process.md"}


def _pages() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def _anchor(heading: str) -> str:
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", _pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links__relative_ones_of_each_page__lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        to = (page.parent / name).resolve() if name else page
        headings = re.findall(r"^#+ (.*)$", to.read_text(), re.MULTILINE) if anchor else []
        if not to.exists() or (anchor and anchor not in map(_anchor, headings)):
            broken.append(target)
    assert not broken


@cache
def _tree() -> frozenset[str]:
    """Every file and folder of the project, from its root."""
    inside = [path for name in PACKAGES for path in (ROOT / name).rglob("*")]
    return frozenset(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*"), *inside])


def _is_there(name: str) -> bool:
    """Whether the whole path, or its end as a page on one package writes it, is one of ours."""
    return any(path == name or path.endswith(f"/{name}") for path in _tree())


def _living_pages() -> list[Path]:
    """All but the history, which may name what is gone."""
    return [page for page in _pages() if page.name != "CHANGELOG.md"]


@pytest.mark.parametrize("page", _living_pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_paths__that_a_page_names__are_there(page: Path) -> None:
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL))
    endings = "css|html|js|json|md|pem|py|service|toml|vy|yml"
    path = re.compile(rf"[\w./-]+\.({endings})|({_ANY})/[\w./-]*")
    named = {span.rstrip("/") for span in spans if path.fullmatch(span)}
    assert {name for name in named - MADE_AT_RUN_TIME if not _is_there(name)} == set()


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md", "docs/simulation.md"])
def test_modules__that_a_page_names__are_there(page: str) -> None:
    text = (ROOT / page).read_text()
    for name in re.findall(rf"`((?:{_ANY})(?:\.\w+)+)`", text):
        assert resolve_name(name) is not None


def test_paths__that_the_code_names__are_there() -> None:
    path = re.compile(rf"(?<![\w./-])(?:{_ANY})(?:/\w+)+\.(?:json|md|py|toml|vy|yml)\b")
    sources = [*ROOT.glob("*.py"), *(ROOT / each for each in _tree() if each.endswith(".py"))]
    texts = [source.read_text() for source in [*sources, ROOT / "pyproject.toml"]]
    named = {name for text in texts for name in path.findall(text)}
    assert named - _tree() - MADE_AT_RUN_TIME - OF_OTHERS == set()
