"""The host program: look, decide, do, say; until it is told to stop.

Four lanes work side by side: `mail` talks to the bucket, `image` fetches, `machine` runs the
enclave tools and looks at what is so, `network` orders the process that carries bytes. This thread
only decides, so S3 that hangs for hours does not keep a dead enclave from being restarted, and a
slow boot does not stop the heartbeat.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from enclave.host import decide as machine
from enclave.host.aws import Metadata, Unreachable
from enclave.host.config import Config, Places
from enclave.host.documents import PACKETS, Desired, DocumentRefused, Status
from enclave.host.mailbox import Abandoned, Mailbox, NotThere, WrongImage
from enclave.host.model import Allocate, Step
from enclave.host.network import console_log
from enclave.host.network.keeper import Keeper
from enclave.host.network.orders import NOTHING, Orders, Report, orders_ahead, orders_for
from enclave.host.saved import Memory, Run
from enclave.host.staged import Staged
from enclave.host.watch import Watch
from enclave.host.workers import Lane

# After an image could not be had: soon again, since it is staged while the host waits for it.
_FETCH_AGAIN_SECONDS = 1.0
# The loop turns at least this often, so that a clock that jumps delays nothing for long.
_LONGEST_WAIT_SECONDS = 5.0
_SHORTEST_WAIT_SECONDS = 0.01
_MOST_ERROR = 4000
_TELLING_BYTES = 64 << 20  # of free disk; less is no news


@dataclass(frozen=True)
class Mail:
    """What the mail lane brought: a new desired, or why it could not be read; what it wrote."""

    desired: Desired | None
    refused: str | None
    wrote: Status | None
    changed: bool = True


class Host:
    """One instance's host. `clock` gives unix seconds."""

    def __init__(
        self,
        config: Config,
        places: Places,
        instance_id: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config, self._places, self._id, self._clock = config, places, instance_id, clock
        self._wake, self._stopping = threading.Event(), False
        self._mail: Lane[Mail] = Lane("mail", self._wake)
        self._image: Lane[None] = Lane("image", self._wake)
        self._machine = Watch(places, self._wake, clock)
        self._box = Mailbox(config, instance_id)
        self._staged = Staged(places, Mailbox(config, instance_id))
        self._network: Lane[Report] = Lane("network", self._wake)
        self._keeper = Keeper(places)
        self._ordered: Orders | None = None  # what the network's process was told last
        self._answered: Orders | None = None  # what its last report is about
        self._ordered_at = self._told_traffic_at = 0.0
        self._report = Report()
        self._memory = Memory(places)
        self._desired, self._run = self._memory.desired(), self._memory.run()
        self._wrote: Status | None = None
        self._news_at = 0.0  # when what is said last changed: the heartbeat that is written
        self._phase: str | None = None
        self._next_poll = self._next_fetch = self._turned_at = 0.0
        self._errors: dict[str, str | None] = {}

    def stop(self) -> None:
        """End the loop soon; the enclave and its network go on."""
        self._stopping = True
        self._wake.set()

    def run(self) -> None:
        """Until stop()."""
        self._adopt_run()
        while not self._stopping:
            self._wake.clear()
            self._wake.wait(self.turn())
        for lane in (self._mail, self._image, self._machine.lane, self._network):
            lane.close()

    def turn(self) -> float:
        """Take what came in, decide, start what is to be done; seconds until the next turn."""
        now = self._clock()
        if now < self._turned_at:
            self._set_back(now)
        self._turned_at = now
        self._take_mail(now)
        self._take_image(now)
        self._take_machine(now)
        self._take_network()
        seen = self._machine.seen(self._staged.here(self._desired))
        if seen is None:  # nothing is known, so nothing is said; desired can be read
            if self._machine.lane.idle:
                self._look(None)
            self._exchange(None, now)
            return self._until_next(now)
        seen = replace(seen, serving=self._is_served())
        plan = machine.decide(self._desired, seen, self._run.tries, now)
        self._do(plan, now)
        self._exchange(self._status(plan, now), now)
        return self._until_next(now)

    def _set_back(self, now: float) -> None:
        """The clock was: what waits for a time by the old one is due, or it would wait for long."""
        self._next_poll = self._next_fetch = self._ordered_at = now
        self._wrote = None
        self._machine.set_back(now - self._config.cadence.watch)

    # What came in

    def _take_mail(self, now: float) -> None:
        done = self._mail.take()
        if done is None:
            return
        waiting = self._desired is None
        cadence = self._config.cadence
        self._next_poll = now + (cadence.first_poll if waiting else cadence.poll)
        try:
            mail = done.result()
        except (Unreachable, OSError, ValueError, KeyError) as error:
            self._tell_mailbox(f"the mailbox cannot be reached: {error}")
            return
        self._tell_mailbox(None)
        if mail.changed:
            self._errors["desired"] = mail.refused
        self._wrote = mail.wrote or self._wrote
        if mail.desired is not None:
            self._desired = mail.desired
            self._memory.save_desired(mail.desired)
            self._adopt_run()

    def _tell_mailbox(self, error: str | None) -> None:
        """A status that can't be written tells nobody of it: when that begins and ends is said
        here, too."""
        if (error is None) != (self._errors.get("mailbox") is None):
            say(error or "the mailbox is reached again")
        self._errors["mailbox"] = error

    def _adopt_run(self) -> None:
        """Counters belong to one enclave name; another one starts with clean ones."""
        if self._desired is None:
            return
        name = machine.enclave_name(self._desired)
        if self._run.tries.name != name:
            booted = self._run.phases.get("booted", self._clock())
            self._remember(Run(machine.Tries(name), {"booted": booted}))
            self._errors["image"] = None

    def _take_image(self, now: float) -> None:
        done = self._image.take()
        if done is None:
            return
        error = _outcome(done)
        self._errors["image"] = str(error) if error else None
        if error is not None:
            self._next_fetch = now + _FETCH_AGAIN_SECONDS
        if isinstance(error, WrongImage):
            self._fail(str(error), now)
            self._next_fetch = self._run.tries.retry_at

    def _take_machine(self, now: float) -> None:
        looked = self._machine.take(self._run.tries.name, now)
        self._errors["lingering"] = self._machine.lingers(now)
        if looked is None:
            return
        self._errors["look"] = looked.look_error
        cadence = self._config.cadence
        tries = machine.noticed(
            machine.started(self._run.tries, looked.ran, now),
            looked.seen,
            now,
            backoff=cadence.backoff,
            well_after=cadence.well_after,
        )
        self._remember(replace(self._run, tries=tries))
        if looked.step_error is not None:
            self._fail(looked.step_error, now)

    def _take_network(self) -> None:
        done = self._network.take()
        if done is None:
            return
        try:
            self._report = done.result()
            self._answered = self._ordered
            self._errors["network"] = self._report.words
        except OSError as error:  # no room for its log, no process to be had
            self._errors["network"] = f"the network's process: {error}"

    def _fail(self, error: str, now: float) -> None:
        tries = machine.failed(self._run.tries, error, now, self._config.cadence.backoff)
        self._remember(replace(self._run, tries=tries))

    def _remember(self, run: Run) -> None:
        if run != self._run:
            self._run = run
            self._memory.save_run(run)

    # What is done

    def _do(self, plan: machine.Plan, now: float) -> None:
        if plan.fetch and self._desired and self._image.idle and now >= self._next_fetch:
            desired = self._desired
            self._image.start(lambda: self._staged.fetch(desired, lambda: self._wants(desired)))
        last = self._machine.last
        due = last is None or now - last.at >= self._config.cadence.watch
        if self._machine.lane.idle and (plan.step is not None or due):
            if isinstance(plan.step, Allocate):  # beside fetching: in no phase's name
                self._remember(replace(self._run, phases={**self._run.phases, "allocating": now}))
            self._look(plan.step)
        self._order_network(plan, now)

    def _look(self, step: Step | None) -> None:
        packets = self._desired is not None and self._desired.network == PACKETS
        self._machine.look(step, self._run.tries.name, packets)

    def _order_network(self, plan: machine.Plan, now: float) -> None:
        """Tell the network's process what is wanted: what is new at once, the same on a cadence."""
        orders = self._ahead()
        if plan.enclave is not None and self._desired is not None:
            orders = orders_for(self._desired, plan.enclave, orders)
        due = now - self._ordered_at >= self._config.cadence.watch
        if self._network.idle and (due or orders != self._ordered):
            self._ordered, self._ordered_at = orders, now
            desired = self._desired
            self._network.start(lambda: self._order(orders, desired, now))

    def _order(self, orders: Orders, desired: Desired | None, now: float) -> Report:
        """For the network's lane. The log of a console goes when its job has none any more."""
        report = self._keeper.ensure(orders, now, early=desired is not None)
        if desired is not None and not desired.console:
            console_log.forget(self._places.console)
        return report

    def _ahead(self) -> Orders:
        """What has to be served before the wanted enclave starts."""
        desired = self._desired
        if desired is None or not self._staged.here(desired):
            return NOTHING
        return orders_ahead(desired, self._staged.params(desired), self._places.console)

    def _is_served(self) -> bool:
        """Whether it is, by the word of the network's process about just these orders."""
        ahead = self._ahead()
        return ahead == NOTHING or (self._answered == ahead and self._report.ready)

    def _wants(self, desired: Desired) -> bool:
        now = self._desired
        files = (desired.image_sha256, desired.init)
        same = now is not None and (now.image_sha256, now.init) == files
        return same and not self._stopping

    # What is said

    def _status(self, plan: machine.Plan, now: float) -> Status:
        phases = self._run.phases
        if plan.phase not in phases or self._phase not in (None, plan.phase):
            phases = {**phases, plan.phase: now}
            self._remember(replace(self._run, phases=phases))
        self._phase = plan.phase
        desired, enclave, tries = self._desired, plan.enclave, self._run.tries
        return Status(
            phase=plan.phase,
            run_id=desired.run_id if desired else None,
            heartbeat=now,
            program=self._config.program_sha256[:64],
            instance_id=self._id,
            phases=phases,
            image_sha256=desired.image_sha256 if desired else None,
            enclave_id=enclave.id if enclave else None,
            enclave_cid=enclave.cid if enclave else None,
            pcrs=dict(enclave.pcrs) if enclave else {},
            restarts=tries.restarts,
            last_error=self._last_error(),
            disk_free_bytes=self._wrote.disk_free_bytes if self._wrote else 0,
            **self._counted(now),
        )

    def _counted(self, now: float) -> dict[str, Any]:
        """Traffic and drops, as they were said last until it is time to say them anew."""
        before, since = self._wrote, now - self._told_traffic_at
        if before and before.traffic and 0 <= since < self._config.cadence.traffic:
            return {"traffic": before.traffic, "drops": before.drops}
        self._told_traffic_at = now
        return {"traffic": self._report.counts, "drops": self._report.drops}

    def _last_error(self) -> str | None:
        texts = [self._run.tries.error, *self._errors.values()]
        return "; ".join(text for text in texts if text)[:_MOST_ERROR] or None

    def _exchange(self, status: Status | None, now: float) -> None:
        """Write what is new or due, and read; while the bucket is away, only as often as polled."""
        if not self._mail.idle:
            return
        last, beat = self._wrote, self._config.cadence.heartbeat
        due = last is None or now - last.heartbeat >= beat
        news = status is not None and (due or replace(status, heartbeat=0.0) != _still(last))
        failing = self._errors.get("mailbox") is not None
        if now >= self._next_poll or (news and not failing):
            self._mail.start(lambda: self._mail_job(status if news else None))

    def _mail_job(self, status: Status | None) -> Mail:
        if status is not None:
            self._places.state.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._places.state).free
            status = replace(status, disk_free_bytes=_steady(free, self._wrote))
            if self._wrote is None or _still(status) != _still(self._wrote):
                self._news_at = status.heartbeat
            same = replace(status, heartbeat=self._news_at)
            self._box.write_status(same.to_json(), status.heartbeat)
        try:
            document = self._box.read_desired()
            if document is None:
                return Mail(None, None, status, changed=False)
            return Mail(Desired.from_json(document), None, status)
        except DocumentRefused as error:
            return Mail(None, f"desired.json is refused: {error}", status)
        except NotThere:  # nothing to do yet, or it expired: what runs goes on
            return Mail(None, None, status, changed=False)

    def _until_next(self, now: float) -> float:
        """Seconds to the next thing that is due; a busy lane wakes this thread by itself."""
        times = [now + _LONGEST_WAIT_SECONDS]
        times += [at for at in (self._next_fetch, self._run.tries.retry_at) if at > now]
        if self._machine.lane.idle and self._machine.last is not None:
            times.append(self._machine.last.at + self._config.cadence.watch)
        if self._network.idle:
            times.append(self._ordered_at + self._config.cadence.watch)
        if self._mail.idle:
            times.append(self._next_poll)
            if self._wrote is not None and not self._errors.get("mailbox"):
                times.append(self._wrote.heartbeat + self._config.cadence.heartbeat)
        return max(min(times) - now, _SHORTEST_WAIT_SECONDS)


def _still(status: Status | None) -> Status | None:
    """Without what always moves."""
    return replace(status, heartbeat=0.0) if status else None


def _steady(free: int, wrote: Status | None) -> int:
    """Free bytes of the disk as they were said last, until they have moved by much."""
    before = wrote.disk_free_bytes if wrote is not None else free
    return free if abs(free - before) >= _TELLING_BYTES else before


def _outcome(done: Future[None]) -> Exception | None:
    try:
        done.result()
    except (Unreachable, NotThere, WrongImage, Abandoned, OSError) as error:
        return error
    return None


def say(text: str) -> None:
    """To whoever reads the unit's log, or the instance's console from outside."""
    sys.stderr.write(f"oyster-host: {text}\n")
    sys.stderr.flush()


def find_identity() -> str:
    """This instance's id; the metadata service is asked until it answers."""
    metadata, pause, told = Metadata(), 0.1, False
    while True:
        try:
            return metadata.identity()[0]
        except (Unreachable, ValueError, KeyError) as error:
            if not told:
                say(f"the metadata service does not say which instance this is: {error}")
            told = True
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_WAIT_SECONDS)
