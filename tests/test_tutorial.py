"""docs/tutorial.md is true: its commands, in order on one terminal, print what it says.

Somebody sits at a terminal of 80 columns and types nothing: no command may ask. Each ```console
block holds commands (`$ `) and their output. Every command exits 0. Every line of output that the
page shows is printed, and every one that is printed is shown, once numbers, addresses and times are
evened out; `…` stands for lines left out; a line with `/home/you` in it, and the rest of a folded
line, are not compared. `python -m tests.test_tutorial` writes what is printed into the page.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import pytest

from devnet import database

ROOT = Path(__file__).parent.parent
COLUMNS = 80
HOME = "/home/you"
COMMAND_SECONDS = 120.0
MARK = "--exit-code--"
LEFT_OUT = "…"

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

NOT_COMPARED = re.compile(rf"{HOME}|^ {{4}}(?!→)|^ +─+$|^\s*$|^…$")
# Of a timeline what happens besides, and on a busy machine that it is waited for.
CHANCE = re.compile(r" \d{4}-\d\d-\d\d |… (asking|trying)")
EVEN = (
    (r"\x1b\[[0-9;?]*[a-zA-Z]", ""),
    (r"^(host )?[ab] | [ab](?= handed over)", r"\1H "),  # of two hosts, either
    (r"(differs from|as) here$", "SEEN"),  # whether a host has read the file since: chance
    (r"\b(0x|i-|ami-)[0-9a-fA-F]+", r"\1#"),
    (r"\b(bafy[a-z2-7]{20,}|[0-9a-f]{12,})\b", "#"),
    (r"(\d+(\.\d+)? (d|h|min|s)\b ?)+", "TIME "),
    (r"\d+([.:-]\d+)*", "N"),
    (r"[^\x21-\x7e]+", " "),
)


@dataclass(frozen=True)
class Said:
    """One command of the page and the lines it shows below it."""

    command: str
    output: tuple[str, ...]


def page() -> str:
    """The tutorial; without its last chapter where there is no PostgreSQL to walk it with."""
    text = (ROOT / "docs" / "tutorial.md").read_text()
    if database.programs() is not None:
        return text
    return re.sub(r"^## Two hosts$.*?(?=^## )", "", text, flags=re.MULTILINE | re.DOTALL)


def commands_of(page: str) -> Iterator[Said]:
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *output = part.rstrip("\n").split("\n")
            yield Said(command, tuple(output))


def untold(step: Said, printed: Iterable[str]) -> list[str]:
    """Lines that were printed, and that the page does not show."""
    shown = {even(line) for line in step.output}
    certain = (line for line in printed if not CHANCE.match(line))
    return [] if LEFT_OUT in step.output else [one for one in _kept(certain) if one not in shown]


def _kept(lines: Iterable[str]) -> list[str]:
    return [even(line) for line in lines if not NOT_COMPARED.search(line)]


def recorded(step: Said, printed: Sequence[str]) -> list[str]:
    """What the page is to show: all of it, or what it showed before with its figures of now."""
    if LEFT_OUT not in step.output:
        return [line for line in printed if not line.startswith("… asking")]
    told: list[str] = []
    left = list(printed)
    for line in step.output:
        if line == LEFT_OUT:
            told.append(line)
        elif not NOT_COMPARED.search(line):
            at = next((n for n, one in enumerate(left) if even(one) == even(line)), None)
            if at is None:
                told.append(line)  # the test tells
                continue
            rest = list(takewhile(lambda one: one.startswith("    "), left[at + 1 :]))
            told += [left[at], *rest]  # and what it was folded into
            left = left[at + 1 :]
    return told


def even(line: str) -> str:
    """The line without what differs from run to run; of a table row, what begins its cells."""
    line = re.sub(*EVEN[0], line)
    line = re.sub(r" -(?=\d)", "  ", line)  # a margin is a gain or a loss by chance
    if line.startswith(" "):
        first, second, *rest = [*re.split(r" {2,}", line.strip()), "", ""]
        line = " ".join((first, second, rest[0].split(" ")[0] if rest else ""))
    for pattern, instead in EVEN:
        line = re.sub(pattern, instead, line)
    return line.strip()


class Shell:
    """One bash whose output is a terminal of COLUMNS columns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._terminal, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        clean = {name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ}
        programs = f"{Path(sys.executable).parent}:{clean['PATH']}"
        self._bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**clean, "PATH": programs, "TERM": "xterm", "NO_COLOR": "1"},
        )
        os.close(theirs)

    def run(self, command: str) -> tuple[int, str]:
        """Exit code and output."""
        assert self._bash.stdin is not None
        # Their input is the terminal too: whatever asked a question would wait for its answer.
        line = f"{{ {command}\n}} 0<&1\nprintf '\\n{MARK} %s\\n' $?\n"
        self._bash.stdin.write(line.encode())
        self._bash.stdin.flush()
        said, until = b"", time.monotonic() + COMMAND_SECONDS
        while (end := re.search(rb"\n" + MARK.encode() + rb" (\d+)\r?\n", said)) is None:
            ready, _, _ = select.select([self._terminal], [], [], until - time.monotonic())
            assert ready, (
                f"{command}: no end after {COMMAND_SECONDS:.0f} s; it said {said[-500:]!r}"
            )
            said += os.read(self._terminal, 65536)
        return int(end[1]), said[: end.start()].decode().replace("\r", "")

    def close(self) -> None:
        """End it and what it left running."""
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        os.killpg(self._bash.pid, signal.SIGTERM)
        self._bash.wait()
        os.close(self._terminal)


@pytest.fixture
def shell() -> Iterator[Shell]:
    folder = Path(tempfile.mkdtemp(prefix="oyster-"))
    shell = Shell(folder)
    try:
        yield shell
    finally:
        shell.run("oyster-provider devnet down >/dev/null 2>&1")  # where the page got stuck
        shell.close()
        shutil.rmtree(folder, ignore_errors=True)


def test_tutorial__every_command__exits_0_and_prints_what_the_page_shows(shell: Shell) -> None:
    steps = list(commands_of(page()))
    assert len(steps) > 20
    for step in steps:
        code, output = shell.run(step.command)
        assert code == 0, f"{step.command}\n{output}"
        printed = lines_of(output, shell.folder)
        missing = [line for line in _kept(step.output) if line not in {*map(even, printed)}]
        assert not missing, f"{step.command}\nshows {missing}, printed was\n{output}"
        more = untold(step, printed)
        assert not more, f"{step.command}\nprints {more}, which the page does not show\n{output}"


def lines_of(output: str, folder: Path) -> list[str]:
    """What is on the terminal, as the page has it."""
    plain = re.sub(*EVEN[0], output).replace(str(folder), HOME)
    return [line.rstrip() for line in plain.strip("\n").split("\n")] if plain.strip() else []


def _record() -> None:
    """Walk the page, and write what each command printed below it."""
    folder = Path(tempfile.gettempdir()) / f"oy{os.getpid() % 100:02}"  # as long as HOME
    folder.mkdir()
    shell, told, at = Shell(folder), page(), 0
    try:
        for step in commands_of(told):
            code, output = shell.run(step.command)
            assert code == 0, f"{step.command}\n{output}"
            new = "\n".join([f"$ {step.command}", *recorded(step, lines_of(output, folder))])
            old = "\n".join([f"$ {step.command}", *step.output])
            at = told.index(old, at)  # a command may stand there twice
            told, at = told[:at] + new + told[at + len(old) :], at + len(new)
    finally:
        shell.run("oyster-provider devnet down >/dev/null 2>&1")
        shell.close()
        shutil.rmtree(folder, ignore_errors=True)
    (ROOT / "docs" / "tutorial.md").write_text(told)


if __name__ == "__main__":
    _record()
