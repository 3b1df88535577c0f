"""What `service status` says: the unit as systemd has it, and the agent as it answers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from commands.service import UNIT, outdated, packaged
from commands.terminal import ConfigOption, JsonOption, print_facts, print_json
from faults import Fault, RetryLater

_SECONDS = 10.0


def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """The unit as systemd has it, and whether the agent answers; exit 4 when it does not run."""
    from commands.looking import ask_running

    found: dict[str, Any] = {"unit": _unit(), **_systemd()}
    try:
        view, broken = ask_running(config)
        word = view["health"]["word"]
        found["agent"] = f"{word}, while its file is broken: {broken}" if broken else word
    except Fault as fault:
        found["agent"] = str(fault).partition(";")[0]
    if as_json:
        print_json(found)
    else:
        print_facts(list(found.items()))
    if found["active"] != "active":
        raise RetryLater(f"{UNIT} is {found['active']}: systemctl enable --now {UNIT}")


def _unit() -> str:
    if packaged(Path("/")):
        return "of the package"
    old = outdated(Path("/"))
    if old is None:
        return "not installed (oyster-provider service install)"
    return f"not this version's: {', '.join(old)}" if old else "of this version"


def _systemd() -> dict[str, str]:
    """What systemctl says in one word each; "unknown" where no systemd runs."""
    program = shutil.which("systemctl")
    return {word: _said(program, f"is-{word}") for word in ("active", "enabled")}


def _said(program: str | None, word: str) -> str:
    if program is None:
        return "unknown"
    try:
        done = subprocess.run(  # noqa: S603 # systemctl, from PATH
            [program, word, UNIT], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip().partition("\n")[0] or "unknown"
