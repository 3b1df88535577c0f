"""How many examples a fuzzer's property tries: seconds' worth in `make test`, more in `fuzz`."""

from __future__ import annotations

import os

VARIABLE = "FUZZ_TIMES"


def examples(usual: int) -> int:
    """`usual`, times what `python -m tests.fuzz` asks for."""
    return usual * int(os.environ.get(VARIABLE, "1"))
