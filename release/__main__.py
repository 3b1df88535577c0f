"""`python -m release WHAT [FOLDER]`: dist, deb, man, check; what the make targets run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import program
from faults import Fault, Refused, UsageFault
from release import checklist, deb, dist, manual
from release.moment import epoch, released


def _dist(folder: Path) -> None:
    files = dist.twice(dist.packages)
    dist.write(folder, files)
    wheel = next(name for name in files if name.endswith(".whl"))
    dist.write(folder, dist.twice(lambda: dist.bill(folder / wheel)))
    sys.stdout.write("".join(f"{line}\n" for line in dist.sums(folder)))


def _deb(folder: Path) -> None:
    wheel, version = dist.wheel_of(folder), debian_version()
    dist.write(folder, dist.twice(lambda: deb.build(wheel, version)))
    sys.stdout.write("".join(f"{line}\n" for line in dist.sums(folder)))


def _man(_: Path) -> None:
    sys.stdout.write(manual.made())


def debian_version() -> str:
    """The released version; of another commit one that sorts before it, and by time."""
    tag = released()
    return program.version() if tag else f"{program.version()}~{epoch()}.{program.commit()}"


def _check(folder: Path) -> None:
    said, done = checklist.shown(folder)
    sys.stdout.write(said)
    if not done:
        raise Refused("not ready to be released; what is missing is listed above")


WHAT: dict[str, Callable[[Path], None]] = {"dist": _dist, "deb": _deb, "man": _man, "check": _check}


def main(words: Sequence[str]) -> int:
    """Exit code as the program's own: a Fault is one line."""
    try:
        if not 1 <= len(words) <= 2 or words[0] not in WHAT:
            raise UsageFault(f"python -m release {'|'.join(WHAT)} [FOLDER]")
        WHAT[words[0]](Path(words[1] if len(words) > 1 else "dist"))
    except Fault as fault:
        sys.stderr.write(f"error: {fault}\n")
        return fault.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
