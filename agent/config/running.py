"""What the running agent goes by, for who looks at it while its file can't be read.

An agent goes on with what it read when its file is broken afterwards. It keeps that text in its
state directory, mode 0600, since such a file may name nodes by URLs with keys; a command whose file
is broken finds it there. No agent reads it: a start goes by the file alone.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.config.load import MAX_FILE_BYTES, ConfigFault, overridden, parse
from agent.config.model import Config, Status
from agent.secret import replace_private

FILE = "running.json"
MOST_LINES = 2_000  # of a broken file, whose statements are tried one by one
MOST_STATEMENT = 40  # lines


@dataclass(frozen=True, slots=True)
class Glimpse:
    """Of a broken file: where its agent keeps its state, and where it answers."""

    state: Path
    listen: str


def keep(runs: Config, path: Path, text: str) -> None:
    """Note that the agent `runs` by this text of the file at `path`. Raises UsageFault: its state
    directory can't be written."""
    said = {"file": str(path.resolve()), "listen": runs.status.listen, "text": text}
    replace_private(runs.state / FILE, json.dumps(said))


def running(path: Path, environ: Mapping[str, str] = os.environ) -> Config | None:
    """What the agent of this file went by when it last read it; None: it can't be known here, as
    where another account's agent runs. Raises nothing.

    The agent's account writes it and root may read it: it is a plain file of bounded size, and does
    not say where the journal is.
    """
    base, state = path.absolute().parent, glimpse(path, environ).state
    try:
        kept = json.loads(_bounded(state / FILE))
        if kept["file"] != str(path.resolve()):
            return None
        config = parse(kept["text"], name=str(path), base=base, environ=environ)
        listen = environ.get("OYSTER_STATUS__LISTEN") or str(kept["listen"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError, ConfigFault):
        return None
    if config.state.resolve() != state.resolve():
        return None
    return replace(config, status=replace(config.status, listen=listen))


def _bounded(file: Path) -> bytes:
    """Raises OSError, ValueError: it is no plain file, or too large."""
    if not file.is_file() or file.stat().st_size > 2 * MAX_FILE_BYTES:
        raise ValueError(f"{file} is not what an agent writes")
    return file.read_bytes()


def glimpse(path: Path, environ: Mapping[str, str] = os.environ) -> Glimpse:
    """What can be known of a file that is broken, or not there; else what is usual."""
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_FILE_BYTES).decode("utf-8-sig", "replace")
    except OSError:
        text = ""
    data = overridden(salvaged(text), environ)
    state, status = data.get("state_dir"), data.get("status")
    listen = status.get("listen") if isinstance(status, dict) else None
    folder = Path(state if isinstance(state, str) else Config().state_dir)
    with suppress(RuntimeError):  # a ~ that leads nowhere is among what is broken
        folder = folder.expanduser()
    return Glimpse(
        path.absolute().parent / folder, listen if isinstance(listen, str) else Status().listen
    )


def salvaged(text: str) -> dict[str, Any]:
    """The statements of a TOML text that can be read beside those before them."""
    lines, kept, data, at = text.splitlines(keepends=True)[:MOST_LINES], "", dict[str, Any](), 0
    while at < len(lines):
        for end in range(at + 1, min(len(lines), at + MOST_STATEMENT) + 1):
            try:
                data = tomllib.loads(kept + "".join(lines[at:end]))
            except ValueError:
                continue
            kept, at = kept + "".join(lines[at:end]), end
            break
        else:
            at += 1
    return data
