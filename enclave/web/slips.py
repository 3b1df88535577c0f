"""What people write where an image's URL belongs, though it can be none: told as what it is.

Only what no host can be meant by. Of a market on which any host is asked each of them would be
asked of DNS, again and again for as long as its job is paid.
"""

from __future__ import annotations

import re
from typing import Final

_LOCAL: Final = re.compile(r"[a-zA-Z]:/|(?:~|\.\.?)?/(?!/)")
# Without a scheme and a path behind it; those of them that a top-level domain is called by, too
# (car), want a scheme to mean the host.
_FILE: Final = re.compile(r"(?i)[^/?#:@]+\.(?:eif|car|img|bin|iso|tar|t?gz|xz|zst|json|ya?ml)")
_SCHEME_CUT: Final = re.compile(r"(?i)https?(?::/?|//)(?!/)")


def slip(text: str) -> str:
    """What is wrong with it and what to write; empty: nothing of these."""
    if _SCHEME_CUT.match(text):
        return "its scheme is cut; write https:// before the host"
    if _LOCAL.match(text):
        return "it names a file of its writer's machine; write where the image can be fetched from"
    if _FILE.fullmatch(text):
        return "it is the name of a file, not where it is; write ipfs://CID or https://HOST/PATH"
    return ""
