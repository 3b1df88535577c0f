"""Which bytes a job runs, where nothing but a URL names its image.

What the URL led to first is what the job runs, over restarts and replacements: its SHA-256 is a
line of the journal and a tag of the instance, either of which is enough. A pin is of one URL, which
is named by a digest of it, since its query may be a secret; another URL is another pin.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from agent.journal.lines import IMAGE_PINNED
from agent.journal.reading import Reader
from agent.market.model import JobId

Pins = dict[tuple[JobId, str], str]  # (job, url's name) -> SHA-256 of the file, hex

_TAG = re.compile(r"([0-9a-f]{16}):([0-9a-f]{64})")


def name_of(url: str) -> str:
    """What stands for a URL in lines and tags: 16 hex digits."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def tag_of(url: str, sha256: str) -> str:
    """A pin as an instance's tag has it."""
    return f"{name_of(url)}:{sha256}"


def pinned_by(tags: Iterable[str], url: str) -> str:
    """The SHA-256 that one of these tags pins the URL to; empty: none."""
    found = (_TAG.fullmatch(tag) for tag in tags)
    return next((each[2] for each in found if each and each[1] == name_of(url)), "")


def pins_of(reader: Reader) -> Pins:
    """What the journal has, of jobs that ended too: a deposit may revive one."""
    found: Pins = {}
    for event in reader.named(IMAGE_PINNED):
        line = f"{event.fields.get('url_name')}:{event.fields.get('sha256')}"
        told = _TAG.fullmatch(line)
        if told and event.job is not None:
            found.setdefault((event.job, told[1]), told[2])
    return found
