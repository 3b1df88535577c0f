"""Why packets of an enclave, or for it, did not pass: the reasons, and how counts of them are read.

Nothing is decided by them, so nothing is refused for them: a host that is older, newer or odd says
less, and no more than so many. Standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import re

# By `network.packet` but for "garbage" (the stream's bytes are no packets any more) and "device"
# (the kernel took none), which are `network.streams`'.
DROPS = (
    *("source", "near", "mail", "source-port", "not-tcp", "fragment", "options", "short"),
    *("garbage", "device", "not-ipv4", "target", "length"),
)
MOST = 32
_REASON = re.compile(r"[a-z][a-z0-9-]{0,31}\Z")


def drops_of(value: object) -> dict[str, int]:
    """What of it can be understood: counts by reason, known or not."""
    found = value if isinstance(value, dict) else {}
    kept = [(name, count) for name, count in found.items() if _is_count(name, count)]
    return dict(kept[:MOST])


def _is_count(name: object, count: object) -> bool:
    named = isinstance(name, str) and _REASON.match(name) is not None
    return named and type(count) is int and 0 <= count < 1 << 63
