"""The program on a machine whose clock is wrong: `python -m devnet.ahead SECONDS WORDS ...`.

Every other clock (boot time, monotonic) goes on as it is, as where somebody sets the date.
"""

from __future__ import annotations

import runpy
import sys
import time


def main() -> None:
    """`oyster-provider WORDS`, its wall clock so many seconds ahead."""
    real, ahead = time.time, float(sys.argv[1])
    time.time = lambda: real() + ahead
    sys.argv = ["oyster-provider", *sys.argv[2:]]
    runpy.run_module("cli", run_name="__main__")


if __name__ == "__main__":
    main()
