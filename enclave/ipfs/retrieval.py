"""Fetch a file by CID from several sources that are believed in nothing.

All race for the first block; who answers first serves the rest as a CAR, or block by block where it
serves no CARs. One that lies is dropped; when one breaks or stalls, all race for the next block
from the last verified byte on. Rounds are repeated (tenacity) until the deadline. Works in the
calling thread, which blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

from tenacity import Retrying

from enclave.cid import Cid
from enclave.ipfs.answers import Withheld
from enclave.ipfs.assembly import Emit, Intake
from enclave.ipfs.bulk import Bulk, Opened
from enclave.ipfs.car import Lie
from enclave.ipfs.gateway import Source, unbroken
from enclave.ipfs.race import Race, Rules
from enclave.ipfs.resume import go_on_from
from enclave.ipfs.source_standing import Standings, Verdict
from enclave.ipfs.unixfs import PathWalk
from enclave.web.guard import Guard
from enclave.web.image_url import IpfsUrl
from enclave.web.retry import rounds_of
from faults import RetryLater, TryElsewhere

HEAD_START_SECONDS: Final = 0.3  # what a better source gets before the next is asked as well
# The same for the bulk: who just gave a block is trusted to begin soon, and a CAR that is begun for
# nothing costs a gateway more than a block.
BULK_HEAD_START_SECONDS: Final = 1.0


class Unavailable(RetryLater):
    """No source had it, in all rounds; the message says what each did."""


class IpfsFetch:
    """One fetch, for one thread; `used` names the sources that gave verified blocks."""

    def __init__(
        self, sources: Sequence[Source], standings: Standings, guard: Guard, *, rounds: int
    ) -> None:
        self._sources = standings.order(sources)
        self._all = tuple(self._sources)  # those that are asked no more, too
        self._standings = standings
        self._guard = guard
        self._rounds = rounds
        self._notes: dict[str, str] = {}
        self.used: dict[str, None] = {}

    def resolve(self, url: IpfsUrl) -> Cid:
        """The CID of what the URL's path leads to. Raises BadDag, Unavailable, OutOfTime."""
        walk = PathWalk(url.cid, url.path)
        while (cid := walk.wanted) is not None:
            walk.accept(self._block(cid))
        return walk.target

    def start(self, root: Cid, max_blocks: int, emit: Emit) -> Intake:
        """The file with its first block read, so that its size is known. Raises as `resolve`."""
        intake = Intake(root, max_blocks, emit)
        intake.take(root, self._block(root))
        return intake

    def resume(self, intake: Intake, part: Path) -> None:
        """Take what an earlier download left at `part`. Raises as `resolve`."""
        go_on_from(part, intake, self._block)

    def finish(self, intake: Intake) -> None:
        """Bring what is left of the file. Raises BadDag, Unavailable, OutOfTime."""

        def one_round() -> None:
            before = -1
            while not intake.whole and intake.walk.position > before:
                before = intake.walk.position
                self._pass(intake)
            if not intake.whole:
                raise self._unavailable(f"{intake.root} from byte {intake.walk.position} on")

        self._repeat()(one_round)

    def heard(self) -> str:
        """What became of each source, for whom the time is over. From any thread."""
        notes, used = dict(self._notes), dict(self.used)
        silent = {
            one.name: "gave some of it" if one.name in used else "no answer" for one in self._all
        }
        return "; ".join(f"{name}: {notes.get(name, said)}" for name, said in silent.items())

    def _pass(self, intake: Intake) -> None:
        """Races for the wanted block; each winner serves while it can, until none is left."""
        bulk = Bulk(intake)
        while not intake.whole:
            race = Race(
                self._guard,
                Rules(1, BULK_HEAD_START_SECONDS),
                bulk.open,
                partial(self._failed, bulk.drop),
                Opened.close,
            )
            won = race.run([one for one in self._sources if bulk.may(one)], self._resting)
            if won is None:
                return
            source, opened = won
            before = intake.walk.position
            fault = self._drained(source, opened, intake)
            bulk.note(source, opened, fault, intake.walk.position - before)

    def _drained(self, source: Source, opened: Opened, intake: Intake) -> TryElsewhere | None:
        """Take what it brings; how it ended, if not well."""
        before = intake.walk.position
        try:
            with unbroken(source), closing(opened):
                opened.into(intake)
        except TryElsewhere as fault:
            self._judge(source, fault)
            return fault
        finally:
            if intake.walk.position > before:
                self.used[source.name] = None
        self._standings.served(source)
        return None

    def _block(self, cid: Cid) -> bytes:
        """One block, from whoever has it first; they lead from then on."""
        if cid.inline is not None:
            return cid.inline
        race = Race(
            self._guard,
            Rules(self._rounds, HEAD_START_SECONDS),
            lambda source, guard: _ask(source, guard, cid),
            partial(self._failed, lambda source: None),
        )
        won = race.run(self._sources, self._resting)
        if won is None:
            raise self._unavailable(str(cid))
        source, block = won
        self._standings.served(source)
        self._lead(source)
        return block

    def _failed(
        self, drop: Callable[[Source], None], source: Source, fault: TryElsewhere
    ) -> float | None:
        """Remember it; seconds until the source may be asked again, None: not for this file."""
        drop(source)
        verdict = self._judge(source, fault)
        if isinstance(fault, Withheld):
            self._leave_out(source)
        if isinstance(fault, Withheld | Lie):
            return None
        return min(verdict.rest_seconds, self._guard.seconds_left / 2)

    def _resting(self, source: Source) -> float:
        """Seconds for which it wants to be left alone still; none where little of this fetch's time
        would be left after them: to be asked once too often does a gateway less harm than a job
        that is missed."""
        rest = self._standings.resting(source, self._guard.now())
        return rest if rest <= self._guard.seconds_left / 2 else 0.0

    def _lead(self, winner: Source) -> None:
        self.used[winner.name] = None
        self._sources = [winner, *(other for other in self._sources if other is not winner)]

    def _judge(self, source: Source, fault: TryElsewhere) -> Verdict:
        """Remember how the source behaved; a liar is not asked again."""
        self._notes[source.name] = str(fault)
        verdict = self._standings.judge(source, fault, self._guard.now())
        if verdict.dropped:
            self._leave_out(source)
        return verdict

    def _leave_out(self, source: Source) -> None:
        self._sources = [one for one in self._sources if one is not source]

    def _unavailable(self, what: str) -> Unavailable:
        said = "; ".join(f"{name}: {note}" for name, note in self._notes.items())
        now = self._guard.now()
        rests = [self._standings.resting(source, now) for source in self._sources]
        after = min(rests, default=0.0)
        return Unavailable(
            f"no source has {what} ({said or 'no source is left'}); try again"
            f"{f' in {after:.0f} s' if after else ''}, or add a gateway",
            after_seconds=after or None,
        )

    def _repeat(self) -> Retrying:
        def worth_it(fault: BaseException) -> bool:
            return isinstance(fault, Unavailable) and bool(self._sources)

        return rounds_of(self._guard, self._rounds, worth_it)


def _ask(source: Source, guard: Guard, cid: Cid) -> bytes:
    """One block of one source, in a thread of the race. Raises TryElsewhere."""
    with unbroken(source), closing(source.open(guard)) as session:
        return session.block(cid)
