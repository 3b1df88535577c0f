"""Text that a stranger chose, fit for a terminal, a log line and a journal."""

from __future__ import annotations


def shown(text: object, most: int = 200) -> str:
    """One line of at most `most` printable characters; what moves a cursor is replaced."""
    return "".join(each if each.isprintable() else "\ufffd" for each in str(text)[:most])
