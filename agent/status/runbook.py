"""What to do about each alert: the operator's guide's own sections, for browser and terminal.

The wheel takes docs/operating.md along for this; its part below *Alerts* is the runbook.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

FILE = Path(__file__).parents[2] / "docs" / "operating.md"
_CODE, _AS_CODE = re.compile(r"`([^`]+)`"), r"<code>\1</code>"
_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")


def part_of(guide: str) -> str:
    """The sections about alerts, from the guide's text."""
    _, _, below = guide.partition("\n# Alerts\n")
    return below[below.index("\n## ") :].strip() + "\n"


def slug(title: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


@lru_cache(maxsize=1)
def sections() -> Mapping[str, tuple[str, str]]:
    """Anchor: title and text, in the guide's order."""
    found = {}
    part = part_of(FILE.read_text(encoding="utf-8"))
    for section in re.split(r"^## ", part, flags=re.M)[1:]:
        title, _, text = section.partition("\n")
        found[slug(title)] = (title, _LINK.sub(r"\1", text).strip())
    return found


@lru_cache(maxsize=1)
def page() -> str:
    """All sections as one HTML page without a script."""
    body = "".join(
        f'<section id="{anchor}"><h2>{html.escape(title)}</h2>{_paragraphs(text)}</section>'
        for anchor, (title, text) in sections().items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Runbook</title>'
        f'<link rel="stylesheet" href="page.css"></head><body><main class="runbook">'
        f"<h1>Runbook</h1>{body}</main></body></html>"
    )


def _paragraphs(text: str) -> str:
    paragraphs = (html.escape(each) for each in text.split("\n\n"))
    return "".join(f"<p>{_CODE.sub(_AS_CODE, each)}</p>" for each in paragraphs)
