"""docs/configuration.md, made from the model so that it cannot lie.

`python -m agent.config.reference` prints the page; a test compares it with the file.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator
from typing import Any

from agent.config.fields import KEY, key_of, setting_of
from agent.config.model import NO_SETTINGS, Config, Offer

_HEAD = """# Configuration

Made from `agent/config/model.py` by `python -m agent.config.reference`; edit that, not this page.

`oyster-provider init` writes the file (`/etc/oyster-provider/config.toml`, or where `--config` or
`$OYSTER_CONFIG` says). A setting is overridden for one process by the environment variable
`OYSTER_SECTION__KEY`, for example `OYSTER_CHAIN__POLL=250ms`; lists are written with commas.

- A **duration** is `"250ms"`, `"90s"`, `"15m"`, `"6h"`, `"2d"`; a **size** `"512MiB"`, `"2GiB"`; a
  **price** `"0.17/h"` (per s, m, h or d, in whole payment tokens); a **coin amount** `"40gwei"`,
  `"0.05eth"` (the chain's own coin, whatever it is called there).
- A **file** is a path (a relative one starts at the configuration's folder) or
  `"credential:NAME"`: the systemd credential of that name, else the file `credentials/NAME` beside
  the configuration. Secrets are never written into the file itself.
- Unknown keys, values without their unit and settings that contradict each other are refused, with
  the line and the nearest valid key.
"""

_TABLE = "| key | kind | default | why |\n| --- | --- | --- | --- |"


def page() -> str:
    """The whole page as Markdown."""
    parts = [_HEAD, _section("Top level", Config, ())]
    for field in dataclasses.fields(Config):
        if field.name == "offers":
            parts.append(_section("[[offers]]", Offer, ()))
        elif KEY not in field.metadata and field.name not in NO_SETTINGS:
            parts.append(_section(f"[{field.name}]", field.type, (field.name,)))
    return "\n".join(parts)


def _section(title: str, cls: Any, path: tuple[str, ...]) -> str:
    section = _class_of(cls)
    # Python 3.13 takes a docstring's indent away, 3.11 leaves it.
    lead = "" if section is Config else f"{inspect.cleandoc(section.__doc__ or '')}\n\n"
    rows = "\n".join(_rows(section))
    return (
        f"## {title}\n\n{lead}| key | kind | default | why |\n| --- | --- | --- | --- |\n{rows}\n"
    )


def _rows(section: type[Any]) -> Iterator[str]:
    for field in dataclasses.fields(section):
        if KEY not in field.metadata:
            continue
        setting = setting_of(field)
        default = "required" if setting.required else _default(field)
        kind = setting.kind.name
        if setting.choices:
            kind = ", ".join(setting.choices)
        if setting.bounds:
            low, high = (setting.kind.show(bound).strip('"') for bound in setting.bounds)
            kind += f", {low} to {high}"
        example = f" Example: `{setting.example}`." if setting.example else ""
        yield f"| `{key_of(field.name)}` | {kind} | {default} | {setting.reason}{example} |"


def _default(field: dataclasses.Field[Any]) -> str:
    empty = field.default is None or field.default in ("", ())
    return "none" if empty else f"`{setting_of(field).kind.show(field.default)}`"


def _class_of(named: Any) -> type[Any]:
    from agent.config import model

    found = getattr(model, named) if isinstance(named, str) else named
    assert isinstance(found, type)
    return found


if __name__ == "__main__":
    sys.stdout.write(page())
