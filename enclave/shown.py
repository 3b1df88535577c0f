"""What strangers wrote, fit for a terminal, a log line and a journal; and what we say we are."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final


def _user_agent() -> str:
    try:
        return f"oyster-provider/{version('oyster-provider')}"
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "oyster-provider/0"


# Sent with every request: public gateways stand behind services that refuse who names nothing.
USER_AGENT: Final = _user_agent()


def shown(text: object, most: int = 200) -> str:
    """One line of at most `most` printable characters; what moves a cursor is replaced."""
    return "".join(each if each.isprintable() else "\ufffd" for each in str(text)[:most])
