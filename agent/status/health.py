"""One answer to "is all well?", with its reasons, for status, /readyz, page, doctor and metrics.

Pure: what was seen, in; a `Health` out. Nothing else decides what keeps the agent from serving. One
cause is named once: credentials that fail everywhere are one line, not one for each region.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from cloud.clock_of_aws import FAR_SECONDS

# Ethereum and rollups on it take half an hour at most; where a proof is waited for it is hours, and
# whoever runs there wants to know what each end costs.
FINAL_SECONDS = 3600.0
REGION_SECONDS = 60.0  # a region is looked at every 20 s at the least
HEAD_SHARE = 0.25  # of the window in which a job is to be up: an assignment is seen too late
HEAD_SECONDS = 30.0  # no chain is behind before that, whatever its window
NO_WINDOW_SECONDS = 120.0  # where a market has none
RECENT_SECONDS = 3600.0
LEAST_DISK_BYTES = 256 << 20  # below it the journal itself is about to fail
STANDBY = "standby"  # the kind of what is no fault: another host leads, and this one waits


class Grade(StrEnum):
    """How bad it is; the worst part is the whole's."""

    OK = "ok"
    WARN = "warn"  # it serves, but look
    FAIL = "fail"  # it does not serve as it should: not ready


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that was looked at. `kind` is of KINDS, `name` which of them; `todo` what to do."""

    kind: str
    name: str
    grade: Grade
    text: str
    todo: str = ""

    @property
    def line(self) -> str:
        """For a person: which, what, and what to do about it."""
        which = f"{self.name}: " if self.name else ""
        return f"{which}{self.text}" + (f"; {self.todo}" if self.todo else "")


@dataclass(frozen=True, slots=True)
class Health:
    """All parts, the worst first within the order in which they were looked at."""

    parts: tuple[Part, ...] = ()
    closed: str = ""

    @property
    def fails(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.grade is Grade.FAIL)

    @property
    def warns(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.grade is Grade.WARN)

    @property
    def word(self) -> str:
        """stalled, not ready, stands by (and well), leaving, paused, look (it serves, but see to
        it) or serving."""
        failing = {part.kind for part in self.fails}
        if "loop" in failing:
            return "stalled"
        if failing:
            return "stands by" if failing == {STANDBY} else "not ready"
        if self.closed:
            return "leaving" if self.closed == "draining" else self.closed
        return "look" if self.warns else "serving"


@dataclass(frozen=True, slots=True)
class NodeSeen:
    name: str
    usable: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class CallSeen:
    """A call that does not get out to the chain. `urgent`: the stake hangs on it."""

    call: str
    why: str
    seconds: float
    urgent: bool


@dataclass(frozen=True, slots=True)
class RegionSeen:
    """`seen_at`: when AWS last told what runs there; `fault` what it said instead since;
    `denied`: it was the credentials."""

    name: str
    seen_at: float | None
    fault: str = ""
    denied: bool = False


@dataclass(frozen=True, slots=True)
class OfferSeen:
    """One type, prices as people read them; "" where there is none. `margin`: what an hour leaves,
    None where the cost is not known; `never`: why EC2 can't serve it at all; `blocked`: why nothing
    of it can be launched now, which an operator or a minute mends."""

    type: str
    wanted: str
    listing: str
    trouble: str = ""
    never: str = ""
    blocked: str = ""
    full: str = ""
    margin: float | None = None
    on_chain: bool = True  # else it is a rate card, which the agent shows by itself
    unread: bool = False  # since the start nobody has looked at what the market lists


@dataclass(frozen=True, slots=True)
class Disk:
    free_bytes: int
    need_bytes: int


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that is judged. Times are unix seconds; empty texts say that nothing is wrong.

    `window_seconds`: how long a job may take to be up, 0 where the market does not say.
    `recent` counts jobs missed, refused and slashed within RECENT_SECONDS. `file` says how the file
    differs from what runs, `broken` why it can't be read at all. `other_agent_at`: when a nonce of
    ours was last used by somebody else. `aws_ahead`: seconds by which AWS's clock is ahead of this
    machine's, None where nobody knows. `leadership`: why nobody can know who leads; `stands_by`:
    another host does, so that what only a leader does is not missed here.
    """

    now: float
    progress_at: float
    stall_seconds: float
    started_at: float
    resynced: bool = True
    chain_error: str = ""
    head_at: float = 0.0
    final_at: float = 0.0  # of the newest final block; 0: none was told yet
    window_seconds: float = 0.0
    nodes: Sequence[NodeSeen] = ()
    regions: Sequence[RegionSeen] = ()
    offers: Sequence[OfferSeen] = ()
    closed: str = ""
    journal: str = ""
    journal_gone: bool = False  # its file was moved or deleted in use
    held: int = 0
    recent: Mapping[str, int] = field(default_factory=dict)
    bugs: Sequence[str] = ()
    unended: Mapping[str, int] = field(default_factory=dict)
    nameless: Sequence[str] = ()  # instances of ours whose tags lack the job
    wanting: Sequence[str] = ()  # effects to which this machine did not give what they take
    file: Sequence[str] = ()
    broken: str = ""
    disk: Disk | None = None
    other_agent_at: float | None = None
    held_up: Sequence[CallSeen] = ()
    gas_jobs: float | None = None
    signs: bool = True
    stake_jobs: int | None = None
    has_stake: bool = True
    leadership: str = ""
    stands_by: bool = False
    aws_ahead: float | None = None


def judge(seen: Seen) -> Health:
    """The one place that says what is wrong."""
    looks = (
        _loop, _clock, _chain, _nodes, _credentials, _regions, _journal, _disk, _file, _offers,
        _jobs, _held, _wallet, _held_up, _effects, _leadership,
    )  # fmt: skip
    return Health(tuple(part for look in looks for part in look(seen)), seen.closed)


KINDS = (
    "loop", "start", "clock", "chain", "node", "credentials", "region", "journal", "disk", "file",
    "offer", "jobs", "terminations", "wallet", "effects", "leadership", STANDBY,
)  # fmt: skip


def _ok(kind: str, text: str, name: str = "") -> Part:
    return Part(kind, name, Grade.OK, text)


def _loop(seen: Seen) -> Iterator[Part]:
    age = seen.now - seen.progress_at
    if age > seen.stall_seconds:
        yield Part("loop", "", Grade.FAIL, f"no progress for {age:.0f} s", "see the agent's log")
    elif not seen.resynced and not seen.stands_by:
        yield _ok("loop", "turns")
        yield Part("start", "", Grade.FAIL, "the first resync is not done")
    else:
        yield _ok("loop", "turns")


def _leadership(seen: Seen) -> Iterator[Part]:
    """Not ready either way, so that nobody is sent here; only the first is a fault."""
    if seen.leadership:
        todo = "see `lease.server_away` in the log, and `oyster-provider runbook no-leader`"
        yield Part("leadership", "", Grade.FAIL, seen.leadership, todo)
    elif seen.stands_by:
        todo = "`oyster-provider hosts list` says which"
        yield Part(STANDBY, "", Grade.FAIL, "stands by: another host leads", todo)


def _clock(seen: Seen) -> Iterator[Part]:
    """AWS's is right, so that this machine's is what has to be set."""
    if seen.aws_ahead is None:
        return
    off = abs(seen.aws_ahead)
    if off <= FAR_SECONDS:
        yield _ok("clock", f"within {FAR_SECONDS:.0f} s of AWS's")
        return
    way = "behind" if seen.aws_ahead > 0 else "ahead of"
    text = f"this machine's clock is {off:.0f} s {way} AWS's, which refuses requests from 300 s on"
    yield Part("clock", "", Grade.WARN, text, "start time synchronisation (chrony, timesyncd)")


def _chain(seen: Seen) -> Iterator[Part]:
    if seen.chain_error:
        yield Part("chain", "", Grade.FAIL, f"the chain can't be read: {seen.chain_error}")
        return
    age, most = seen.now - seen.head_at, behind_seconds(seen.window_seconds)
    silent = seen.now - (seen.head_at or seen.started_at)
    if _nobody_answers(seen) and silent > HEAD_SECONDS:
        text = f"no node answers, and no block was read for {silent:.0f} s"
        yield Part("chain", "", Grade.FAIL, text, "see each of chain.rpc_urls")
    elif seen.head_at and age > most:
        text = f"the newest block is {age:.0f} s old: assignments are seen late"
        yield Part("chain", "", Grade.FAIL, text, "add a node of another operator")
    elif seen.final_at and seen.head_at - seen.final_at > FINAL_SECONDS:
        behind = (seen.head_at - seen.final_at) / 60
        text = f"the newest final block is {behind:.0f} min older than the head"
        todo = "ends wait for one, and cost meanwhile; another node, or chain.finality = a depth"
        yield Part("chain", "", Grade.WARN, text, todo)
    else:
        yield _ok("chain", "is read")


def _nobody_answers(seen: Seen) -> bool:
    """Whether every node is left out."""
    return bool(seen.nodes) and not any(node.usable for node in seen.nodes)


def behind_seconds(window_seconds: float) -> float:
    """How old the newest block may be."""
    return max(HEAD_SECONDS, HEAD_SHARE * window_seconds) if window_seconds else NO_WINDOW_SECONDS


def _nodes(seen: Seen) -> Iterator[Part]:
    for node in seen.nodes:
        if node.usable:
            yield _ok("node", "is used", node.name)
        else:
            said = (node.error or "does not answer, or lags").removeprefix(f"{node.name} ")
            todo = "" if _nobody_answers(seen) else "the others serve meanwhile"
            yield Part("node", node.name, Grade.WARN, said, todo)


def _credentials(seen: Seen) -> Iterator[Part]:
    denied = [region for region in seen.regions if region.denied]
    if denied:
        where = ", ".join(region.name for region in denied)
        todo = "see the AWS credentials and the agent's policy"
        yield Part("credentials", "", Grade.FAIL, f"{where}: {denied[0].fault}", todo)
    else:
        yield _ok("credentials", "are taken")


def _regions(seen: Seen) -> Iterator[Part]:
    for region in seen.regions:
        silent = seen.now - (region.seen_at if region.seen_at is not None else seen.started_at)
        if region.denied or silent <= REGION_SECONDS:
            grade = Grade.WARN if region.denied else Grade.OK
            text = "see credentials" if region.denied else "is seen"
            yield Part("region", region.name, grade, text)
        else:
            said = region.fault or "no answer"
            text = f"AWS was not seen for {silent:.0f} s ({said}): nothing can be launched there"
            yield Part("region", region.name, Grade.FAIL, text)


def _journal(seen: Seen) -> Iterator[Part]:
    if seen.journal_gone:
        text = "it was moved or deleted while in use, and what commands order is not heard"
        todo = "put it back, or restart the agent, which begins a new one"
        yield Part("journal", "journal file", Grade.FAIL, text, todo)
    if seen.journal:
        yield Part("journal", "", Grade.FAIL, f"the journal can't be written: {seen.journal}")
    else:
        yield _ok("journal", "is written")


def _disk(seen: Seen) -> Iterator[Part]:
    if seen.disk is None:
        return
    free = f"{seen.disk.free_bytes / 2**30:.1f} GiB free"
    if seen.disk.free_bytes < LEAST_DISK_BYTES:
        yield Part("disk", "", Grade.FAIL, free, "free some: the journal needs it")
    elif seen.disk.free_bytes < seen.disk.need_bytes:
        todo = "free some, or lower images.max_size"
        yield Part("disk", "", Grade.WARN, f"{free}, two images need more", todo)
    else:
        yield _ok("disk", free)


def _file(seen: Seen) -> Iterator[Part]:
    if seen.broken:
        text = f"the file is broken, and what was read before it runs on: {seen.broken}"
        todo = "mend it before a restart; `oyster-provider config check` has all"
        yield Part("file", "", Grade.WARN, text, todo)
    elif seen.file:
        more = f" (and {len(seen.file) - 1} more)" if len(seen.file) > 1 else ""
        text = f"the file says otherwise than what runs: {seen.file[0]}{more}"
        todo = "`oyster-provider config diff` has all; then systemctl reload oyster-provider"
        yield Part("file", "", Grade.WARN, text, todo)
    else:
        yield _ok("file", "says what runs")


def _offers(seen: Seen) -> Iterator[Part]:
    """A host that stands by lists nothing, and hears nothing of what is listed."""
    for offer in seen.offers:
        if seen.stands_by:
            yield _ok("offer", "left to the host that leads", offer.type)
            continue
        grade, text, todo = _offer(offer, seen.closed)
        yield Part("offer", offer.type, grade, text, todo)


def _offer(offer: OfferSeen, closed: str) -> tuple[Grade, str, str]:
    if offer.listing and offer.never:
        todo = f"`oyster-provider offers remove {offer.type}`"
        return Grade.FAIL, f"listed, and can't be served: {offer.never}", todo
    if offer.blocked and (offer.listing or offer.wanted):
        return Grade.WARN, offer.blocked, "see `oyster-provider runbook launches-fail`"
    if offer.trouble and not closed:
        return Grade.WARN, f"not as wanted yet: {offer.trouble}", ""
    if offer.wanted and not offer.listing:
        return _unlisted(offer, closed)
    stands = "listed" if offer.on_chain else "shown"
    if offer.listing and offer.margin is not None and offer.margin < 0:
        text = f"{stands} at {offer.listing}, which is {-offer.margin:.4f}/h below cost"
        return Grade.WARN, text, "see `offers list`" if offer.on_chain else "see `capacity`"
    state = f"{stands} at {offer.listing}" if offer.listing else "not on offer"
    return Grade.OK, state, ""


def _unlisted(offer: OfferSeen, closed: str) -> tuple[Grade, str, str]:
    stands = "not listed" if offer.on_chain else "its rate card is not shown"
    if closed:
        return Grade.OK, f"{stands}: {closed}", ""
    if offer.on_chain and offer.unread:
        return Grade.OK, "not looked up on the market yet", ""
    if offer.full:
        return Grade.WARN, f"{stands}: no further job fits ({offer.full})", ""
    if not offer.on_chain:
        return Grade.WARN, f"{stands}: what the type holds is not known yet", "see `doctor`"
    todo = f"`oyster-provider offers set {offer.type} PRICE` lists it"
    return Grade.WARN, "in the file, not on the market", todo


def _jobs(seen: Seen) -> Iterator[Part]:
    said = [f"{count} {what}" for what, count in seen.recent.items() if count]
    if said:
        harm = "each is a stake at risk or lost" if seen.has_stake else "each is a user without"
        text = f"{', '.join(said)} within the hour: {harm}"
        yield Part("jobs", "", Grade.WARN, text, "see `jobs list --all`")
    elif seen.stake_jobs == 0:
        text, todo = "the stake is used up: no further job comes", "`oyster-provider stake AMOUNT`"
        yield Part("jobs", "", Grade.WARN, text, todo)
    else:
        kinds = "missed, refused or slashed" if seen.has_stake else "missed or refused"
        yield _ok("jobs", f"none {kinds} within the hour")


def _held(seen: Seen) -> Iterator[Part]:
    if seen.held:
        text = f"{seen.held} ends or exits are held: see whether those jobs are over, then"
        yield Part(
            "terminations", "", Grade.FAIL, f"{text} `oyster-provider jobs confirm-terminations`"
        )


def _wallet(seen: Seen) -> Iterator[Part]:
    at = seen.other_agent_at
    if not seen.signs:
        yield _ok("wallet", "none: jobs are served, and nothing is settled from here")
    elif at is not None and seen.now - at < RECENT_SECONDS:
        text = "another program sends transactions with this key: a second agent?"
        yield Part("wallet", "", Grade.WARN, text, "stop one of the two")
    elif seen.gas_jobs is not None and seen.gas_jobs < 1:
        text = "the coin left does not pay for the transactions of one job"
        yield Part("wallet", "", Grade.FAIL, text, "send the provider's address some")
    else:
        yield _ok("wallet", "sends")


def _held_up(seen: Seen) -> Iterator[Part]:
    """What hangs on the stake first; of many that wait for one cause the first says it. While no
    node answers, that is said."""
    if _nobody_answers(seen):
        return
    calls = sorted(seen.held_up, key=lambda one: (not one.urgent, -one.seconds))
    if calls:
        first, more = calls[0], f" (and {len(calls) - 1} more)" if len(calls) > 1 else ""
        text = f"{first.call} does not get out for {first.seconds:.0f} s{more}: {first.why}"
        yield Part("wallet", "calls", Grade.FAIL if first.urgent else Grade.WARN, text)


def _effects(seen: Seen) -> Iterator[Part]:
    for bug in seen.bugs:
        yield Part("effects", "", Grade.WARN, bug, "please report it with the log's trace")
    for said in seen.wanting[:1]:  # one cause, however many effects end by it
        todo = "see its disk, memory and limits (LimitNOFILE of the unit, ulimit -n)"
        yield Part("effects", "", Grade.WARN, said, todo)
    for name, times in list(seen.unended.items())[:1]:
        more = f" (and {len(seen.unended) - 1} more)" if len(seen.unended) > 1 else ""
        text = f"{name}{more} runs and costs on, though EC2 said {times} times that it ends it"
        yield Part("effects", "", Grade.WARN, text, "end it in EC2's console, or ask AWS")
    for name in seen.nameless[:1]:
        more = f" (and {len(seen.nameless) - 1} more)" if len(seen.nameless) > 1 else ""
        text = f"{name}{more} runs and costs on, and lacks tags that say for which job"
        todo = "give it its oyster: tags back, or end it, in EC2's console"
        yield Part("effects", "", Grade.WARN, text, todo)
