"""The door: puts the program's own folder first among the places of modules, then opens `cli`.

`cli`, `agent`, `cloud` are common names. Whoever has a `cli.py` on PYTHONPATH, or another package
of such a name installed, still gets this program.
"""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).parent
# Installed, the modules lie in this folder; in the tree they are its neighbours.
HOME = _HERE if (_HERE / "cli.py").is_file() else _HERE.parent


def main() -> None:
    """`oyster-provider`, with the words of the command line; 130 by Ctrl-C, also while it loads."""
    sys.path.insert(0, str(HOME))
    try:
        from cli import main as program

        program()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
