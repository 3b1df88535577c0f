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
from hypothesis import given
from hypothesis import strategies as st

from commands.terminal import folded

from .program import ROOT

pytestmark = pytest.mark.integration

OFFERS = (
    ("type", "price", "configured", "rank", "of", "cheapest other", "left after cost"),
    [("ap-southeast-2/c6a.16xlarge", "17.0000 tUSD/h", "17.0000 tUSD/h", 12, 345,
      "16.9999 tUSD/h", "+0.0120 tUSD/h")],
)  # fmt: skip
TWO_OFFERS = (
    OFFERS[0],
    [("us-east-1/c6a.2xlarge", "0.35 tUSD/h", "0.35 tUSD/h", 1, 1, "-", "+0.0390 tUSD/h")],
)
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


def test_report__on_eighty_columns__folds_no_number_and_breaks_types_behind_their_slash() -> None:
    names = ("job", "type", "ran until", "hours", "earned", "cost", "margin", "gas", "slashed")
    row = (1, "us-east-1/c6a.xlarge", "2026-11-28", "0.02", "0.002833", "0.002913", "-0.000080",
           "0.000129", "100.00")  # fmt: skip
    right = tuple(name for name in names if name not in ("type", "ran until"))
    shown = _on_a_terminal(
        f"print_table({names!r}, [{row!r}], empty='', right={right!r}, breaks='type')"
    )
    assert max(map(len, shown.splitlines())) <= 80, shown
    for cell in (*row[2:], *right, "us-east-1/", "c6a.xlarge"):
        assert str(cell) in shown, shown
    wide = _on_a_terminal(
        f"print_table({names!r}, [{row!r}], empty='', right={right!r}, breaks='type')", 120
    )
    assert "us-east-1/c6a.xlarge" in wide


def test_table__too_wide_for_any_terminal__folds_and_loses_nothing() -> None:
    row = ("ap-southeast-2/c6a.16xlarge", *(f"{number:030}" for number in range(4)))
    names = ("type", "one", "two", "three", "four")
    shown = _on_a_terminal(f"print_table({names!r}, [{row!r}], empty='', right={names[1:]!r})")
    rows = [line for line in shown.splitlines() if "─" not in line][1:]
    assert sum(len("".join(line.split())) for line in rows) == sum(map(len, row)), shown


@pytest.mark.parametrize(
    ("columns", "rows"),
    [OFFERS, TWO_OFFERS, JOBS, CHECKS],
    ids=["offers", "short offers", "jobs", "doctor"],
)
def test_table__on_eighty_columns__folds_no_name_and_is_no_wider(
    columns: tuple[str, ...], rows: list[tuple[object, ...]]
) -> None:
    shown = _on_a_terminal(f"print_table({columns!r}, {rows!r}, empty='')")
    for name, cell in zip(columns, rows[0], strict=True):
        if name in ("type", "job", "check"):
            assert str(cell) in shown, shown
    words = {word for text in (*columns, *map(str, rows[0])) for word in text.split()}
    assert words <= set(shown.split()), shown
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80, shown
    assert lines[0].strip()
    assert lines[-1].strip()


HASH = "tx=0x" + "5" * 64
IMAGE = "url=ipfs://bafybeicozgdukjwzu7juhpu4ljzb665z2w6g7twa72oehgtqbi5g7d4myq"
REMEDY = "stake at least 100.00 tPOND: oyster-provider stake AMOUNT"
STORY = (
    ("when (UTC)", "since", "what"),
    [("2026-11-22 23:35:23", "+0.0 s", f"job.assigned instance_type=us-east-1/c6a.xlarge {IMAGE}"),
     ("2026-11-22 23:35:26", "+3.2 s", f"tx.report_started {HASH} block=63 fee=0.000129 coin")],
    "", (IMAGE, HASH),
)  # fmt: skip
MAY = (
    "may s3:PutObject, s3:GetObject, s3:DeleteObject; not tried, as nothing is there for it yet: "
    "ec2:TerminateInstances"
)
LOOKS = (
    ("check", "", "found"),
    [("permissions ap-southeast-2", "FAIL", MAY, REMEDY),
     ("ap-southeast-2/c6a.16xlarge", "ok", "room for 480, ami-0d27e0fb3bac4d724", "")],
    "what to do", ("ec2:TerminateInstances", "ami-0d27e0fb3bac4d724", REMEDY),
)  # fmt: skip


@pytest.mark.parametrize(
    ("names", "rows", "last", "copied"), [STORY, LOOKS], ids=["jobs", "doctor"]
)
def test_entries__on_eighty_columns__keep_hashes_names_and_commands_whole(
    names: tuple[str, ...], rows: list[tuple[str, ...]], last: str, copied: tuple[str, ...]
) -> None:
    shown = _on_a_terminal(f"print_entries({names!r}, {rows!r}, empty='', last={last!r})")
    assert max(map(len, shown.splitlines())) <= 80, shown
    for text in copied:
        assert text in shown, shown


def test_sentence__on_eighty_columns__breaks_between_words_and_keeps_a_hash() -> None:
    text = f"done in block 4711: let the market take 300.00 tPOND  {HASH}"
    assert _on_a_terminal(f"say({text!r})").split("\n") == [
        "done in block 4711: let the market take 300.00 tPOND", f"  {HASH}",
    ]  # fmt: skip


def test_measurement__on_eighty_columns__stays_beside_its_name() -> None:
    """Its 96 digits fit on no line: the terminal breaks them, and copies them as one."""
    text = f"  PCR0 {'a' * 96}"
    assert _on_a_terminal(f"say({text!r})") == text.lstrip("\n")


@pytest.mark.parametrize(("first", "told"), [("", "… asking the chain"), ("say('a')\n ", "a")])
def test_slow__nothing_printed_for_a_while__says_what_the_silence_is_for(
    first: str, told: str
) -> None:
    code = (
        "from commands import terminal\nterminal.SILENT_SECONDS = 0.2\n"
        f"with terminal.slow('asking the chain'):\n {first}terminal._silent[0].join()"
    )
    assert _on_a_terminal(code) == told


def test_error__on_eighty_columns__breaks_between_words() -> None:
    option = "--no-such-option-of-a-considerable-length"
    said = _on_a_terminal(
        f"import sys, contextlib, cli; sys.argv = ['x', 'doctor', '{option}', '{option}-again']\n"
        "with contextlib.suppress(SystemExit): cli.main()"
    )
    assert "(see" in said
    assert "\n  " in said
    assert max(map(len, said.splitlines())) <= 80, said


lines = st.lists(st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=30))


@given(lines, st.integers(10, 120))
def test_folded__any_sentence__loses_and_breaks_no_word(words: list[str], width: int) -> None:
    text = " ".join(words)
    found = folded(text, width)
    assert found.split() == text.split()
    for line in found.split("\n"):
        assert len(line) <= width or max(map(len, line.split())) > width - 2


def _on_a_terminal(code: str, width: int = 80) -> str:
    """What the code prints there."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    script = f"from commands.terminal import print_entries, print_table, say\n{code}"
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
