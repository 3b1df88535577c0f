"""A PostgreSQL for tests: `devnet.database`'s, one database a test.

Without the server's programs, or an account to run them, tests skip and say why.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from devnet import database
from devnet.database import SCHEMES as SCHEMES
from devnet.database import Server as Server
from faults import RetryLater


def made(*, safe: bool = False) -> Iterator[Server]:
    """A running server, gone at the end; skips where there can be none."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(database.made(safe=safe))
        except RetryLater as none:
            pytest.skip(str(none))
        yield server
