"""The provider's agent and CLI as separate processes, the way a provider runs them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import program
from devnet.processes import Child, Children
from devnet.state import Devnet, environment
from faults import Refused

COMMAND_SECONDS = 60.0


@dataclass(frozen=True)
class Provider:
    """Runs `oyster-provider ...` against one devnet with one configuration file."""

    devnet: Devnet
    children: Children
    config: Path

    @property
    def env(self) -> Mapping[str, str]:
        return {**environment(self.devnet), "OYSTER_CONFIG": str(self.config)}

    def command(self, *words: str) -> str:
        """The output of one CLI command. Raises Refused with its error when it fails."""
        done = subprocess.run(
            program.command(*words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, **self.env},
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if done.returncode:
            words_said = " ".join(words)
            raise Refused(f"'oyster-provider {words_said}' failed: {done.stderr.strip()[-600:]}")
        return done.stdout

    def ask(self, *words: str) -> Any:
        """What a command answers with --json."""
        return json.loads(self.command(*words, "--json"))

    def run_agent(self) -> Child:
        """`oyster-provider run` with its log in the devnet's logs."""
        return self.children.start("agent", program.command("run"), env=self.env, says_hello=False)

    def crash_agent(self) -> None:
        """kill -9, the agent and all it started."""
        self.children.kill("agent")

    def stop_agent(self) -> int:
        """SIGTERM; the exit code."""
        return self.children.end("agent")
