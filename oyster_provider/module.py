"""`python .../module.py NAME WORDS`: one module of the program, run as `python -m NAME WORDS`.

For the processes that the program starts itself (a devnet's chain, its AWS): see `program.module`.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

_HERE = Path(__file__).parent
HOME = _HERE if (_HERE / "cli.py").is_file() else _HERE.parent


def main() -> None:
    """Run the module that the first word names."""
    sys.path[0] = str(HOME)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
