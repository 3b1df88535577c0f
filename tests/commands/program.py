"""Runs the real program as a person or a script does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Tables as wide as they like, and nobody asked for AWS credentials over the network.
_ALONE = {"COLUMNS": "200", "AWS_EC2_METADATA_DISABLED": "true"}


def oyster(
    *words: str | Path, environ: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """`oyster-provider WORDS` with nobody at the terminal."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "cli", *map(str, words)],
        cwd=ROOT, env={**kept, **_ALONE, **(environ or {})}, input=stdin,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
