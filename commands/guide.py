"""The questions of `setup`: each answer is tried live before the next question, and none is lost.

A step asks for some answers, tries them, and says what it found. Whatever it can't take is asked
again; what was answered before is offered again, also by the next run (`Answers.file`, mode 0600).
The steps know neither terminal nor files of their own: `ask` and `say` are passed in.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.chain.wallet import write_secret
from agent.secret import replace_private
from commands.terminal import slow
from faults import Fault, Refused, UsageFault

Ask = Callable[[str, str], str]  # a question and what is taken when nothing is answered
Say = Callable[[str], None]


@dataclass(slots=True)
class Answers:
    """What was answered, by name; kept in `file` from answer to answer. Never a secret: keys and
    passwords are named by their files. A dry run keeps nothing: what it would make it makes in the
    folder `trial`, which goes with it."""

    file: Path
    given: dict[str, str] = field(default_factory=dict)
    trial: Path | None = None
    doubted: set[str] = field(default_factory=set)  # what is meant once it is answered again

    @classmethod
    def load(cls, file: Path) -> Answers:
        """Those of an earlier run. Raises UsageFault: what is there is not such a file."""
        if not file.exists():
            return cls(file)
        try:
            given = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as broken:
            raise UsageFault(f"{file} can't be read ({broken}); move it away") from broken
        return cls(file, {str(name): str(value) for name, value in given.items()})

    def keep(self, name: str, value: str) -> None:
        """Remember one answer, on the disk at once. Raises UsageFault: it can't be written."""
        self.given[name] = value
        if self.trial is None:
            replace_private(self.file, json.dumps(self.given, indent=1))

    def path(self, name: str) -> Path:
        """The file that was answered. Raises Refused: its ~ leads nowhere."""
        try:
            return Path(self.given[name]).expanduser()
        except RuntimeError:
            raise Refused(f"{self.given[name]}: ~ is no folder here; write it whole") from None

    def mean(self, doubts: Sequence[str], what: str) -> None:
        """Returns when nothing is doubtful, or `what` was answered twice. Raises Refused."""
        if doubts and what not in self.doubted:
            self.doubted.add(what)
            raise Refused(f"{doubts[0]}; answer the same again if that is meant")


def always(answers: Answers) -> bool:
    """Whatever was answered before."""
    return True


@dataclass(frozen=True, slots=True)
class Question:
    """One answer. `default` is taken when nothing is typed and nothing was answered before; it may
    depend on other answers, as may whether this is asked at all (`when`)."""

    name: str
    text: str
    default: str | Callable[[Answers], str] = ""
    when: Callable[[Answers], bool] = always

    def offered(self, answers: Answers) -> str:
        """What is taken when nothing is typed."""
        default = self.default if isinstance(self.default, str) else self.default(answers)
        return answers.given.get(self.name, default)


@dataclass(frozen=True, slots=True)
class Step:
    """Some questions, and `try_`, which says what is true of their answers or raises a Fault;
    asked only `when` the answers before it make sense of it. `forks`: the answers by which that is
    told of the steps after this one, each way."""

    title: str
    questions: Sequence[Question]
    try_: Callable[[Answers], Awaitable[Sequence[str]]]
    when: Callable[[Answers], bool] = always
    forks: Sequence[Mapping[str, str]] = ()


def walk(steps: Sequence[Step], answers: Answers, ask: Ask, say: Say) -> None:
    """All steps in order; each is asked until its answers are taken. Each is tried in a loop of its
    own, since a person who is asked within one can't break it off by Ctrl-C."""
    number = 0
    for place, step in enumerate(steps):
        if not step.when(answers):
            continue
        number += 1
        say(f"{number} of {_how_many(steps, place, answers)}: {step.title}")
        while not _once(step, answers, ask, say):
            say("asked again:")


def _how_many(steps: Sequence[Step], place: int, answers: Answers) -> str:
    """Steps in all, by every way that is still open: an answer of an earlier run may be changed."""
    ways = next((step.forks for step in steps[place:] if step.forks), ({},))
    counts = set[int]()
    for way in ways:
        then = replace(answers, given={**answers.given, **way})
        counts.add(sum(each.when(then) for each in steps))
    return " or ".join(map(str, sorted(counts)))


def _once(step: Step, answers: Answers, ask: Ask, say: Say) -> bool:
    for question in step.questions:
        if question.when(answers):
            answers.keep(question.name, ask(question.text, question.offered(answers)).strip())
    try:
        with slow("trying it"):
            found = asyncio.run(_tried(step, answers))
    except Fault as wrong:
        say(f"  ! {wrong}")
        return False
    for line in found:
        say(f"  {line}")
    return True


async def _tried(step: Step, answers: Answers) -> Sequence[str]:
    return await step.try_(answers)


def new_password(file: Path) -> None:
    """A password that nobody guesses, in a file of its own. Raises UsageFault: it is there."""
    import secrets

    write_secret(file, secrets.token_urlsafe(24) + "\n")
