"""What AWS says of all jobs at once: one list call a region, one look into its mailbox (rule 8).

Merges what EC2 lists with what was just launched and may not be listed yet, and says which jobs
look different since the last time. An instance that vanishes from the listing without having been
seen to end is believed to be there for a while: empty answers have killed fleets before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import structlog

from agent.decide.job_view import Host, Observed, Probe
from agent.load.answers import Evidence
from agent.load.fleet_record import Record, count_quiet, status_of, step, telling
from agent.load.launch_trouble import LaunchTrouble
from agent.load.strangers import Strangers
from agent.load.troubles import Troubles
from agent.market.model import InstanceType, JobId
from agent.ports import Account, Clock, Cloud, Mailbox
from cloud.model import (
    HostReport,
    Identity,
    Instance,
    InstanceId,
    InstanceState,
    LaunchOrder,
    Region,
)
from enclave.host.documents import DocumentRefused
from faults import RetryLater

log = structlog.get_logger()

VISIBLE_SECONDS = 120.0
UNSEEN_LOOKS = 10  # and so many listings without it
UNSEEN_SECONDS = 90.0  # several looks: a region that says nothing for so long is not there
CONTRADICTED_SECONDS = 600.0  # then an empty listing is believed, whoever writes into the mailbox
OLDER = 300.0  # seconds that what is found at a start counts as known, if it was launched before
UNENDED_TIMES = 4  # a listing may be some seconds older than the order


class Fleet:
    """Every instance of this account's jobs, in all regions."""

    def __init__(
        self,
        cloud: Cloud,
        mailbox: Mailbox,
        clock: Clock,
        account: Account,
        *,
        visible_seconds: float = VISIBLE_SECONDS,
    ) -> None:
        self._cloud = cloud
        self._mailbox = mailbox
        self._clock = clock
        self.trouble = LaunchTrouble()
        self._began = clock.now()
        self._chain_id = account.chain_id
        self._whose = (account.contract.lower(), account.provider.lower())
        self._visible_seconds = visible_seconds
        self._by_job: dict[JobId, dict[InstanceId, Record]] = {}
        self._by_id: dict[InstanceId, Record] = {}
        self._live: dict[JobId, set[InstanceId]] = {}
        self.evidence = Evidence()
        self._observed: dict[Region, Observed] = {}
        self.faults: dict[Region, RetryLater] = {}  # why a region could not be seen the last time
        self._strangers = Strangers()
        self._troubles = Troubles()
        self.ended_jobs: set[JobId] = set()  # told as ended: their gone instances are no news
        self._done: set[InstanceId] = set()  # ended and forgotten; EC2 lists them for an hour

    def begin_anew(self) -> None:
        """From here on as after a start: while another host led it launched, ended and swept, and
        what was seen of that is no sign of anything."""
        self._began = self._clock.now()
        self._strangers.clear()

    def hosts(self, job: JobId) -> tuple[Host, ...]:
        """The job's instances, by generation, attempt and age; ended ones while EC2 lists them."""
        records = self._by_job.get(job, {}).values()
        return tuple(sorted((record.host() for record in records), key=_order))

    def serves_since(self, job: JobId) -> float | None:
        """When the job's one instance was launched, as far as AWS says that all is well with it;
        None: it has none or several, or something is the matter or not known."""
        records = self._by_job.get(job, {})
        if len(records) != 1:
            return None
        (record,) = records.values()
        well = record.instance.state is InstanceState.RUNNING and record.unhealthy_since is None
        if not well or record.status is None or record.status.phase != "running":
            return None
        return record.instance.launched_at

    def record(self, instance: InstanceId) -> Record | None:
        return self._by_id.get(instance)

    def observed(self, regions: Sequence[Region]) -> Observed:
        """When all of `regions` were last seen: the oldest look counts."""
        if len(regions) == 1:
            return self._observed.get(regions[0], Observed())
        looks = [self._observed.get(region, Observed()) for region in regions]
        return Observed(
            _oldest([look.listed_at for look in looks]),
            _oldest([look.reports_at for look in looks]),
            max((look.since for look in looks if look.since is not None), default=None),
            min((look.looked_seconds for look in looks), default=0.0),
        )

    def jobs(self) -> set[JobId]:
        """Every job with an instance, live or just ended."""
        return set(self._by_job)

    def live_jobs(self) -> int:
        """How many jobs have a live instance: what a mass is measured against."""
        return len(self._live)

    def probed(self, record: Record, probe: Probe) -> None:
        """How the enclave of an instance answered, or that its answers count anew."""
        record.probe = probe
        if probe.passed_at is not None and probe.failures == 0:
            self.trouble.proven(record.instance.region)
        if record.instance.live:
            self.evidence.note(record.instance.id, probe, served=self._found_serving(record))

    def _found_serving(self, record: Record) -> bool:
        """Whether its enclave was up, by its host's word, when this process began."""
        running = record.status is not None and record.status.phase == "running"
        return running and record.instance.launched_at < self._began

    def silent_seconds(self, region: Region) -> float:
        """For how long EC2 or the mailbox of the region has not been seen, at least one of them."""
        look = self._observed.get(region, Observed())
        times = [self._began if at is None else at for at in (look.listed_at, look.reports_at)]
        return max(0.0, self._clock.now() - min(times))

    def unseen(self, region: Region) -> str:
        """Why the region counts as not there, in words; empty: it was seen lately."""
        silent = self.silent_seconds(region)
        if silent < UNSEEN_SECONDS:
            return ""
        why = self.faults.get(region) or "it does not answer"
        return f"{region} has not been seen for {silent:.0f} s: {why}"

    def change(self, record: Record, instance: Instance) -> None:
        """The instance as it is now."""
        record.instance = instance
        held = self._live.setdefault(JobId(instance.identity.job), set())
        if instance.live:
            held.add(instance.id)
        else:
            held.discard(instance.id)
            self.evidence.drop(instance.id)
        if not held:
            del self._live[JobId(instance.identity.job)]

    def nobodys_order(self, kind: InstanceType) -> LaunchOrder:
        """A launch of the type for no job: to be rehearsed only."""
        identity = Identity(self._chain_id, *self._whose, job=0, generation=0, attempt=0)
        return LaunchOrder(identity, Region(kind.region), kind.ec2_type, self._clock.now())

    def records(self) -> Iterable[Record]:
        return self._by_id.values()

    def unended(self) -> Mapping[str, int]:
        """What EC2 said again and again that it ends, and lists as running; how often it did."""
        return {
            record.instance.id: record.ends_heard
            for record in self._by_id.values()
            if record.ends_heard >= UNENDED_TIMES and record.instance.live
        }

    def strangers(self) -> Mapping[InstanceId, tuple[Region, float]]:
        """Hosts with a mailbox but no instance, and since when they have been seen so."""
        return self._strangers.all()

    def add(self, instance: Instance) -> None:
        """An instance that was just launched: known before it is listed."""
        self._put(instance, self._clock.now())
        self._by_id[instance.id].launched_here = True

    def forget(self, instance: InstanceId) -> None:
        """Drop an instance whose end is confirmed and whose traces are removed."""
        self._strangers.known(instance)
        self._done.add(instance)
        self._drop(instance)

    def _drop(self, instance: InstanceId) -> None:
        record = self._by_id.pop(instance, None)
        if record is not None:
            job = JobId(record.instance.identity.job)
            self.change(record, replace(record.instance, state=InstanceState.TERMINATED))
            self._by_job.get(job, {}).pop(instance, None)
            if not self._by_job.get(job):
                self._by_job.pop(job, None)

    async def list_region(self, region: Region) -> set[JobId]:
        """Look at the region's instances; the jobs that look different. Raises RetryLater."""
        asked_at = self._clock.now()
        listed = [
            one
            for one in await self._cloud.instances(region)
            if one.id in self._by_id or self._ours(one.identity)
        ]
        changed = {job for one in listed if (job := self._put(one, asked_at)) is not None}
        changed |= self._vanished(region, {one.id for one in listed}, asked_at)
        contradicted = not listed and await self._others_write(region, asked_at)
        old = self._observed.get(region, Observed())
        self._observed[region] = self._looked(old, asked_at, anew=contradicted)
        return changed

    @staticmethod
    def _looked(before: Observed, at: float, *, anew: bool) -> Observed:
        """One more look at a region, or the first that counts."""
        if anew or before.since is None or before.listed_at is None:
            return replace(before, listed_at=at, since=at, looked_seconds=0.0)
        seconds = before.looked_seconds + step(before.listed_at, at)
        return replace(before, listed_at=at, looked_seconds=seconds)

    async def _others_write(self, region: Region, now: float) -> bool:
        """Whether hosts write into a mailbox that is this agent's alone, and EC2 lists none at all:
        then what it lists is no look at the region. A while after the start it is one: the hosts
        may be of a rehearsal."""
        if now - self._began > CONTRADICTED_SECONDS:
            return False
        writes = self._strangers.writes(region, now - UNSEEN_SECONDS)
        return writes and await self._mailbox.alone(region)

    def _ours(self, identity: Identity) -> bool:
        whose = (identity.contract.lower(), identity.provider.lower())
        return identity.chain_id == self._chain_id and whose == self._whose

    def _put(self, instance: Instance, now: float) -> JobId | None:
        """Take in what is known of an instance; the job, if that is news."""
        record = self._by_id.get(instance.id)
        job = JobId(instance.identity.job)
        if not instance.live and (instance.id in self._done or job in self.ended_jobs):
            return None
        if record is None:
            record = Record(instance, now, known_seconds=self._known_before(instance, now))
            if not instance.live and instance.launched_at >= self._began:
                self._note_death(record, now)  # sooner than it was ever seen alive
            self._by_id[instance.id] = record
            self._by_job.setdefault(job, {})[instance.id] = record
            self._strangers.known(instance.id)
            self.change(record, instance)
            return job
        news = record.instance is not instance and record.instance != instance
        if instance.healthy is not False:
            record.unhealthy_since = None
        elif record.unhealthy_since is None:
            record.unhealthy_since = now
        dies = record.instance.live and not instance.live
        if news:
            self.change(record, instance)
        if dies:
            self._note_death(record, now)
        record.known_seconds += step(record.looked_at, now)
        record.looked_at, record.unseen_seconds, record.unseen = now, 0.0, 0
        return job if news else None

    def _known_before(self, instance: Instance, now: float) -> float:
        """For how long it has been there, as far as two clocks may be believed about that."""
        if instance.launched_at >= self._began:
            return 0.0
        return min(max(now - instance.launched_at, 0.0), OLDER)

    def _note_death(self, record: Record, now: float) -> None:
        """One on which nothing ran, and that nobody ordered to end, may be the first of many."""
        ordered = record.condemned or record.ended_by_others
        if not ordered and not record.served and record.probe.passed_at is None:
            self.trouble.died(record.instance, now)

    def _vanished(self, region: Region, listed: set[InstanceId], now: float) -> set[JobId]:
        changed: set[JobId] = set()
        for record in [r for r in self._by_id.values() if r.instance.region == region]:
            if record.instance.id in listed or not self._missed(record, now):
                continue
            changed.add(JobId(record.instance.identity.job))
            if record.instance.live:
                log.warning("instance.vanished", instance=record.instance.id, region=region)
                ended = InstanceState.TERMINATED
                self.change(
                    record, replace(record.instance, state=ended, state_reason="not listed")
                )
                record.unseen_seconds, record.unseen = 0.0, 0
            else:
                # Its mail, if there is any left, is a stranger's from now on, and swept.
                self._drop(record.instance.id)
                self._strangers.note(record.instance.id, region, now)
        return changed

    def _missed(self, record: Record, now: float) -> bool:
        """Count a listing without it; whether there were enough, over time enough, and its host
        has fallen silent too: one that writes into its mailbox is there, whatever EC2 lists."""
        record.unseen_seconds += step(record.looked_at, now)
        record.looked_at = now
        record.unseen += 1
        if record.heard_at is not None and record.quiet_seconds < UNSEEN_SECONDS:
            return False
        return record.unseen_seconds >= self._visible_seconds and record.unseen >= UNSEEN_LOOKS

    async def read_reports(self, region: Region) -> set[JobId]:
        """Look into the region's mailbox; the jobs whose host says something new.

        A heartbeat alone is no news: its age is looked at when the job is. Raises RetryLater.
        """
        asked_at = self._clock.now()
        reports = await self._mailbox.reports(region)
        changed: set[JobId] = set()
        for report in reports.values():
            record = self._by_id.get(report.instance)
            if record is None and report.instance not in self._done:
                self._strangers.hear(report, region, asked_at)
            elif record is not None and self._take_report(record, report):
                changed.add(JobId(record.instance.identity.job))
        for record in self._by_id.values():
            if record.instance.region == region:
                count_quiet(record, reports.get(record.instance.id), asked_at)
        old = self._observed.get(region, Observed())
        self._observed[region] = replace(old, reports_at=asked_at)
        return changed

    def _take_report(self, record: Record, report: HostReport) -> bool:
        if report.etag == record.etag:
            # The same words again are a heartbeat; ones that were refused are none.
            record.written_at = report.written_at if record.status else record.written_at
            return False
        try:
            status = status_of(report)
        except DocumentRefused as refused:
            log.warning("host.status_refused", instance=report.instance, error=str(refused))
            record.etag = report.etag
            return False
        before = record.status
        record.status, record.etag = status, report.etag
        record.written_at = report.written_at
        return before is None or telling(before) != telling(status)

    def _tell_unseen(self, region: Region, look: str, error: str) -> None:
        """A region is looked at each second while anything of it is on its way."""
        if tries := self._troubles.note((region, look), error, self._clock.now()):
            log.warning("fleet.unseen", region=region, error=error, tries=tries)

    async def look(self, region: Region) -> set[JobId]:
        """Both looks; what one can't see now is seen the next time."""
        changed: set[JobId] = set()
        faults: list[RetryLater] = []
        for look in (self.list_region, self.read_reports):
            try:
                changed |= await look(region)
            except RetryLater as later:
                self._tell_unseen(region, look.__name__, str(later))
                faults.append(later)
        if faults:
            self.faults[region] = faults[0]
        else:
            self.faults.pop(region, None)
        return changed


def _order(host: Host) -> tuple[int, int, float, str]:
    return (host.generation, host.attempt, host.instance.launched_at, host.instance.id)


def _oldest(times: list[float | None]) -> float | None:
    known = [when for when in times if when is not None]
    return min(known) if known and len(known) == len(times) else None
