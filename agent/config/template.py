"""The file that `init` writes: what was answered, and every other setting as a comment."""

from __future__ import annotations

import dataclasses
import json
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.config.fields import KEY, Setting, key_of, setting_of
from agent.config.model import NO_SETTINGS, Config, Offer
from faults import Refused, UsageFault

_WIDTH = 96
_HEAD = """\
# oyster-provider. What each setting is for and may be: docs/configuration.md.
# A line that begins with "# key =" shows the default; take the "# " away to change it.
"""

Answers = Mapping[str, Mapping[str, Any]]


def render(answers: Answers, offers: Sequence[Mapping[str, str]] = ()) -> str:
    """The commented TOML. `answers` maps section ("" for the top level) to key to value."""
    parts = [_HEAD, *_lines(Config, answers.get("", {}))]
    for field in dataclasses.fields(Config):
        if field.name == "offers":
            parts.extend(_offers(offers))
        elif field.name not in NO_SETTINGS and KEY not in field.metadata:
            factory: Any = field.default_factory
            parts += ["", f"[{field.name}]", *_comment(factory.__doc__)]
            parts.extend(_lines(factory, answers.get(field.name, {})))
    return "\n".join(parts) + "\n"


def write(path: Path, text: str) -> None:
    """Create `path` with mode 0600. Raises Refused when it is there already, UsageFault else."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Refused(f"{path} is there already and stays as it is; name another file") from error
    except OSError as error:
        raise UsageFault(f"{path}: {error.strerror}; name a place that can be written") from error
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)


def _lines(section: type[Any], answers: Mapping[str, Any]) -> Iterator[str]:
    for field in dataclasses.fields(section):
        if KEY not in field.metadata:
            continue
        setting, key = setting_of(field), key_of(field.name)
        yield from _comment(setting.reason)
        if key in answers:
            yield f"{key} = {_toml(answers[key])}"
        else:
            yield f"# {key} = {_default(field, setting)}"


def _offers(offers: Sequence[Mapping[str, str]]) -> Iterator[str]:
    yield from ("", *_comment(Offer.__doc__ or ""))
    for offer in offers:
        yield from ("[[offers]]", *(f"{key} = {_toml(value)}" for key, value in offer.items()))
    if not offers:
        yield from ("# [[offers]]", '# type = "us-east-1/c6a.xlarge"', '# price = "0.17/h"')


def _default(field: dataclasses.Field[Any], setting: Setting) -> str:
    if field.default is None or (setting.example and field.default in ("", ())):
        return setting.example
    return setting.kind.show(field.default)


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH)]


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    # A JSON string is a TOML string, but for DEL, which TOML wants escaped.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
