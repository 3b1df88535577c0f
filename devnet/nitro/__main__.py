"""`python -m devnet.nitro`: build what an enclave is booted with, unless it is there; say where."""

from __future__ import annotations

import sys

from devnet.nitro.build import build
from faults import Fault


def main() -> int:
    """The exit code of the fault, with its one line."""
    try:
        made = build(_line)
    except Fault as fault:
        _line(str(fault))
        return fault.exit_code
    _line(f"{made.folder}: {made.words()}")
    return 0


def _line(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
