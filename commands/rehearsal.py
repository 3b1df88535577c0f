"""One real launch for no job: each stage timed, and ended whatever happens.

The instance has tags of its own (another provider's address), so that no running agent takes it for
a job's, and a later rehearsal finds and ends what a killed one left. Nothing touches the chain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from agent.decide.host_orders import EnclaveRules, misses_its_image
from agent.load.fleet import VISIBLE_SECONDS
from agent.ports import Attester, Clock, Cloud, Image, Images, Mailbox
from cloud.kinds import OutcomeUnknown
from cloud.model import Identity, Instance, InstanceId, InstanceState, LaunchOrder, Region
from enclave.host.documents import Desired, Status
from faults import Fault, Refused, RetryLater, TryElsewhere

T = TypeVar("T")

NOBODY = "0x0000000000000000000000000000000000000001"  # whose instances rehearsals' are
RUN = "rehearsal"
LOOK_SECONDS = 1.0
LEAST_BILLED_SECONDS = 60  # of an instance: EC2's on-demand pricing page
GONE = (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED)


async def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Outside:
    """What a rehearsal needs of the world; `cloud` lists instances of NOBODY alone."""

    cloud: Cloud
    mailbox: Mailbox
    images: Images
    attester: Attester
    clock: Clock


@dataclass(frozen=True, slots=True)
class What:
    """What is tried: an image on a type, for the market at that contract. At most `patience`
    seconds."""

    chain_id: int
    contract: str
    region: Region
    ec2_type: str
    url: str
    enclave: EnclaveRules
    patience: float = 900.0
    unneeded: Callable[[], Awaitable[bool]] = _always  # whether no job may need the image there


@dataclass(slots=True)
class Took:
    """How long each stage took, seconds, and what was bought; filled as it goes."""

    stages: dict[str, float] = field(default_factory=dict)
    instance: str = ""
    up_seconds: float | None = None  # from the first call to the enclave's proof
    billed_seconds: float = 0.0
    fault: Fault | None = None
    left: str = ""  # what could not be ended, and how to do it by hand


class Rehearsal:
    """One run. `say` hears each stage as it ends."""

    def __init__(self, outside: Outside, what: What, say: Callable[[str], None]) -> None:
        self._outside, self._what, self._say = outside, what, say
        self.took = Took()
        self._staged = ""
        self._launching: asyncio.Future[Instance] | None = None
        self._ending = False
        self._began = self._launched = outside.clock.now()

    async def run(self) -> Took:
        """Rehearse, and end what was bought: also when a stage fails, and when this is cancelled.
        The first fault is kept in the result; a cancellation goes on when all is ended."""
        await self._end()  # of a rehearsal that was killed
        self._began = self._launched = self._now()
        try:
            await asyncio.wait_for(self._stages(), self._what.patience)
        except Fault as fault:
            self.took.fault = fault
        except TimeoutError:
            self.took.fault = RetryLater(f"not up after {self._what.patience:.0f} s")
        finally:
            await self._whatever_happens(self._clean())
        return self.took

    async def _whatever_happens(self, work: Coroutine[None, None, None]) -> None:
        """To its end; who breaks it off waits for it."""
        doing, broken_off = asyncio.ensure_future(work), False
        while not doing.done():
            try:
                await asyncio.shield(doing)
            except asyncio.CancelledError:
                broken_off = True
                self._say("ending what was launched; a moment")
        doing.result()
        if broken_off:
            raise asyncio.CancelledError

    async def _stages(self) -> None:
        self._launching = asyncio.ensure_future(self._launch())
        image = await self._image()
        instance = await asyncio.shield(self._launching)
        await self._order(instance, image)  # at once, as the agent does: the host reads it at boot
        instance = await self._timed("launch", self._running(instance))
        await self._timed("boot", self._booted(instance))
        await self._timed("enclave", self._up(instance, image))
        await self._timed("attest", self._attested(instance, image))
        self.took.up_seconds = self._now() - self._began

    async def _image(self) -> Image:
        what, out = self._what, self._outside
        fetching = out.images.fetch(what.url, job=0, deadline=self._now() + what.patience)
        image = await self._timed("image", fetching)
        there = image.sha256 in await out.mailbox.staged(what.region)
        self._staged = "" if there else image.sha256
        staging = out.mailbox.stage(what.region, image.path, image.sha256, image.size_bytes)
        await self._timed("stage", staging)
        return image

    async def _launch(self) -> Instance:
        """Asked for again while EC2 asks to wait: the same order launches once."""
        what = self._what
        identity = Identity(what.chain_id, what.contract, NOBODY, int(self._began), 1, 1)
        latest = self._began + what.patience
        order = LaunchOrder(identity, what.region, what.ec2_type, latest, latest=latest)
        while True:
            try:
                instance = await self._outside.cloud.launch(order)
                break
            except OutcomeUnknown:  # it may have bought: only its own answer says
                if self._ending and self._now() > latest:
                    raise
            except RetryLater:
                if self._ending:
                    raise
            await self._pause()
        self._launched, self.took.instance = self._now(), instance.id
        return instance

    async def _running(self, launched: Instance) -> Instance:
        while True:
            for instance in await self._listed():
                if instance.id == launched.id and instance.state in GONE:
                    why = instance.state_reason or "without a reason"
                    raise Refused(f"{instance.id} ended at once: {why}")
                if instance.id == launched.id and instance.state is InstanceState.RUNNING:
                    return instance
            await self._pause()

    async def _booted(self, instance: Instance) -> None:
        while await self._said(instance) is None:
            await self._pause()

    async def _said(self, instance: Instance) -> Status | None:
        """The host's last word."""
        mailbox, region = self._outside.mailbox, self._what.region
        report = (await self._again(lambda: mailbox.reports(region))).get(instance.id)
        return None if report is None else Status.from_json(dict(report.document))

    async def _up(self, instance: Instance, image: Image) -> None:
        """A running agent unstages an image when the last job with it ends: just now, maybe."""
        what, mailbox = self._what, self._outside.mailbox
        file = (image.path, image.sha256, image.size_bytes)
        while True:
            status = await self._said(instance)
            if status is not None and _runs(status):
                return
            if status is not None and misses_its_image(status):
                await self._again(lambda: mailbox.stage(what.region, *file, missed=True))
            await self._pause()

    async def _order(self, instance: Instance, image: Image) -> None:
        what, enclave = self._what, self._what.enclave
        room = await self._again(lambda: self._outside.cloud.room(what.region, what.ec2_type))
        desired = Desired(
            run_id=RUN, image_sha256=image.sha256, image_bytes=image.size_bytes,
            cpu_count=room.cpu_count, memory_mib=room.memory_mib, debug=enclave.debug,
            ports=enclave.ports, egress=enclave.egress,
        )  # fmt: skip
        document = desired.to_json()
        write = self._outside.mailbox.write_desired
        await self._again(lambda: write(what.region, instance.id, document))

    async def _attested(self, instance: Instance, image: Image) -> None:
        out, debug = self._outside, self._what.enclave.debug
        await self._again(
            lambda: out.attester.attest(instance, image, clock=out.clock, debug=debug)
        )

    # The end

    async def _clean(self) -> None:
        self._ending = True
        try:
            await self._bought()
            await self._end()
        except Fault as fault:
            self.took.left = (
                f"{self.took.instance or 'an instance'} may still run in {self._what.region}: "
                f"{fault}; run rehearse again, which ends it, or end it in EC2's console"
            )
        if self._staged and await self._what.unneeded():
            await self._quietly(self._outside.mailbox.unstage(self._what.region, self._staged))
        await self._quietly(self._outside.images.release(0))

    async def _bought(self) -> None:
        """What the launch came to: a call that was sent is answered, or may buy all the same."""
        if self._launching is None:
            return
        with suppress(RetryLater, TryElsewhere, Refused):
            await self._launching

    async def _end(self) -> None:
        """Returns when every instance of rehearsals is on its way out. Raises RetryLater.

        One that was just launched, or may have been, is not listed at once: its absence counts
        only after VISIBLE_SECONDS.
        """
        cloud, region = self._outside.cloud, self._what.region
        asked, known = self._now(), self.took.instance
        unsure = self._launching is not None
        while True:
            found = await self._listed()
            on = [one for one in found if one.live and one.state not in GONE]
            named = [InstanceId(known)] if known and known not in {one.id for one in found} else []
            if on or named:
                ids = [*(one.id for one in on), *named]
                await self._again(lambda ids=ids: cloud.terminate(region, ids))  # type: ignore[misc] # bound
            waited = self._now() - asked
            if not on and (not unsure or any(one.id == known for one in found)):
                break
            if not on and waited > VISIBLE_SECONDS:
                break
            if waited > 2 * VISIBLE_SECONDS:
                raise RetryLater("EC2 does not show its end")
            await self._pause()
        if known:
            await self._quietly(self._outside.mailbox.forget(region, InstanceId(known)))
            self.took.billed_seconds = max(LEAST_BILLED_SECONDS, self._now() - self._launched)

    async def _listed(self) -> list[Instance]:
        region = self._what.region
        found = await self._again(lambda: self._outside.cloud.instances(region))
        return [one for one in found if one.identity.provider.lower() == NOBODY]

    async def _again(self, call: Callable[[], Awaitable[T]]) -> T:
        """What the call gives; asked again while it asks to wait, for a minute and a half."""
        until = self._now() + 90.0
        while True:
            try:
                return await call()
            except (RetryLater, TryElsewhere):
                if self._now() > until:
                    raise
                await self._pause()

    async def _quietly(self, work: Awaitable[object]) -> None:
        """What is no harm when it stays: the agent's sweep takes it."""
        try:
            await work
        except Fault as fault:
            self._say(f"! {fault}")

    async def _timed(self, stage: str, work: Awaitable[T]) -> T:
        begun = self._now()
        result = await work
        self.took.stages[stage] = self._now() - begun
        self._say(f"{stage:<8} {self.took.stages[stage]:6.1f} s")
        return result

    async def _pause(self) -> None:
        await self._outside.clock.sleep(LOOK_SECONDS)

    def _now(self) -> float:
        return self._outside.clock.now()


def _runs(status: Status) -> bool:
    """Raises Refused: the host can't run it."""
    if status.run_id == RUN and status.phase == "failed":
        raise Refused(
            f"the enclave does not start: {status.last_error or 'the host does not say why'}"
        )
    return status.run_id == RUN and status.phase == "running"
