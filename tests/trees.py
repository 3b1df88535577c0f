"""Python's own reading of Python, for the tests that hold rules over sources."""

from __future__ import annotations

import ast
import gc


def tree(source: str) -> ast.Module:
    """As `ast.parse`, with no collection meanwhile.

    Until 3.12 a finalizer that parses too (a traceback with carets does) makes the outer parse
    raise SystemError, "recursion depth mismatch" (CPython's gh-106905).
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        if collects:
            gc.enable()
