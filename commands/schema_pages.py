"""docs/json: a JSON Schema for every command that prints JSON, written by `python -m
commands.schema_pages docs/json`. A command without one does not pass the tests.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from commands.schemas import DRAFT, SCHEMAS, Schema
from commands.schemas_tools import TOOLS

EVERY: Mapping[str, Schema] = {**SCHEMAS, **TOOLS}


def pages() -> dict[str, str]:
    """File name and text of each schema."""
    return {
        f"{name.replace(' ', '-')}.json": json.dumps(
            {"$schema": DRAFT, "title": f"oyster-provider {name} --json", **schema}, indent=2
        )
        + "\n"
        for name, schema in EVERY.items()
    }


if __name__ == "__main__":
    for file, text in pages().items():
        (Path(sys.argv[1]) / file).write_text(text, encoding="utf-8")
