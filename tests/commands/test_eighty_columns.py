"""On a terminal of 80 columns: what people copy stays in one piece, and nothing is wider."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from .program import ROOT

pytestmark = pytest.mark.integration

OFFERS = (
    ("type", "price", "configured", "rank", "of", "cheapest other", "left after cost"),
    [("ap-southeast-2/c6a.16xlarge", "17.0000 tUSD/h", "17.0000 tUSD/h", 12, 345,
      "16.9999 tUSD/h", "+0.0120 tUSD/h")],
)  # fmt: skip
JOBS = (
    ("job", "type", "state", "next", "price", "escrow"),
    [(1234567, "us-east-1/c6a.xlarge", "bootstrapping", "slash point passed 1 min 52 s ago",
      "0.17 tUSD/h", "1234567.123456 tUSD")],
)  # fmt: skip
CHECKS = (
    ("check", "", "found", "what to do"),
    [("quotas ap-southeast-2/c6a.16xlarge", "WARN",
      "L-1216C47A: 1900 of 1920 vCPUs in use, one more job takes 64",
      "ask AWS for more in Service Quotas, or offer a smaller type")],
)  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "rows"), [OFFERS, JOBS, CHECKS], ids=["offers", "jobs", "doctor"]
)
def test_table__on_eighty_columns__folds_no_name_and_is_no_wider(
    columns: tuple[str, ...], rows: list[tuple[object, ...]]
) -> None:
    shown = _on_a_terminal(f"print_table({columns!r}, {rows!r}, empty='')")
    for name, cell in zip(columns, rows[0], strict=True):
        if name in ("type", "job", "check"):
            assert str(cell) in shown, shown
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80, shown
    assert lines[0].strip()
    assert lines[-1].strip()


def _on_a_terminal(code: str, width: int = 80) -> str:
    """What the code prints there."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    script = f"from commands.terminal import print_table\n{code}"
    ran = subprocess.Popen(
        [sys.executable, "-c", script], stdout=slave, stderr=slave, stdin=slave, cwd=ROOT,
        env={**environ, "TERM": "dumb"},
    )  # fmt: skip
    os.close(slave)
    said = b""
    try:
        while part := os.read(master, 65536):
            said += part
    except OSError:
        pass  # Linux tells so that the other end is closed
    os.close(master)
    assert ran.wait(30) == 0, said
    return said.decode().replace("\r\n", "\n").strip("\n")
