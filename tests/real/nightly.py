"""`make nightly`: what CI has no minutes for, a target after the other; docs/nightly.md keeps how
each went the last time, for whoever reads what the project says of itself.

    python -m tests.real.nightly [TARGET...]
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import program

PAGE = program.HOME / "docs/nightly.md"
TARGETS = ("real", "real-nitro")
# pytest's last line, and what other targets say last: a number and what it counts.
_SUMMARY = re.compile(r"=+ (?P<said>.*\b(?:passed|failed|errors?|skipped)\b.*) in [^=]+=+\s*$")
_ROW = re.compile(r"^\| `make (?P<target>[a-z-]+)` \|.*$", re.MULTILINE)


@dataclass(frozen=True)
class Result:
    """One run of one target; `when` is unix seconds, `took` seconds."""

    target: str
    when: float
    commit: str
    code: int
    said: str
    took: float
    where: str

    def row(self) -> str:
        """As the page has it."""
        day = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self.when))
        word = "passed" if self.code == 0 else f"**failed** ({self.code})"
        said = self.said.replace("|", "/") or "-"
        minutes = f"{self.took / 60:.0f} min"
        cells = (f"`make {self.target}`", day, self.commit, word, said, minutes, self.where)
        return f"| {' | '.join(cells)} |"


def with_row(page: str, result: Result) -> str:
    """The page with the result in the place of the target's last one, or below the others."""
    row = result.row()
    if any(found["target"] == result.target for found in _ROW.finditer(page)):
        return _ROW.sub(lambda old: row if old["target"] == result.target else old[0], page)
    return f"{page.rstrip()}\n{row}\n"


def run(target: str) -> Result:
    """Run it, passing on what it says."""
    begun, said = time.time(), ""
    with subprocess.Popen(
        ["make", target], cwd=program.HOME, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        for line in child.stdout:
            sys.stdout.write(line)
            found = _SUMMARY.search(line)
            said = found["said"] if found else said
    took = time.time() - begun
    return Result(target, begun, program.commit(), child.returncode, said, took, where())


def where() -> str:
    """The machine in a few words, and its load by now: what waits for a booted kernel has limits,
    and on a machine that does much else it is they that are seen to fail."""
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    named = system.partition(" (")[0]
    load = os.getloadavg()[2]  # of the last quarter of an hour, which is what such a target takes
    return f"{named}, Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.0f}"


def main(targets: Sequence[str], page: Path = PAGE) -> int:
    """0 when all passed; each result is written as soon as it is there."""
    worst = 0
    for target in targets or TARGETS:
        result = run(target)
        page.write_text(with_row(page.read_text(encoding="utf-8"), result), encoding="utf-8")
        worst = max(worst, result.code)
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
