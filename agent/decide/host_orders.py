"""What one host is told to run, when it is told something else, and when its enclave is asked.

The image and a host's orders can precede its boot. Where users may change a job in place, another
workload is another run of the same host, and what can't become so runs on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.clock import passed
from agent.decide.job_view import Host, JobView
from agent.decide.keepalive import restarts, run_id, runs_elsewhere, runs_other
from agent.decide.plan import Attest, Draft, Level, StageImage, WriteDesired
from agent.market.model import JobId
from agent.market.workload import Workload
from agent.ports import Image
from cloud.model import Region
from enclave.attest.init_params import KNOWN_IMAGES, KnownImage, expected_pcr16
from enclave.host.documents import PACKETS, Desired, Egress, Init, Port, Status

# Of standard images, which look for their host's streams and init server by it.
STANDARD_CID = 88
STAGED_SECONDS = 86400.0  # then it is looked at again; what is a week old there is written anew
MISSED_SECONDS = 5.0  # between two looks for what a host does not find


@dataclass(frozen=True, slots=True)
class PacketRules:
    """Raw packets for enclaves: `kbit` a second outwards at most (0: any), `mail` opens port 25."""

    kbit: int = 0
    mail: bool = False


@dataclass(frozen=True, slots=True)
class EnclaveRules:
    """What an enclave gets beside its image; `public_port` is where auditors ask. `packets`: its
    network is these, and neither `ports` nor `egress`."""

    ports: tuple[Port, ...] = (Port(1300, 1300),)
    egress: tuple[Egress, ...] = ()
    debug: bool = False
    public_port: int = 1300
    packets: PacketRules | None = None
    known_images: tuple[KnownImage, ...] = KNOWN_IMAGES
    """Those that extend PCR16 with the digest of their init params."""


def prepare_hosts(
    view: JobView, hosts: Sequence[Host], now: float, draft: Draft, rules: EnclaveRules
) -> None:
    """The image in their region's bucket, then their orders; both can precede their boot."""
    image = view.image.image
    if image is None or view.workload is None:
        return
    regions = {host.instance.region for host in hosts}
    if view.instance_type is not None and hosts == view.live and view.head is not None:
        regions.add(Region(view.instance_type.region))
    told = [host for host in hosts if host.status is not None and misses_its_image(host.status)]
    missed = {host.instance.region for host in told}
    for region in sorted(regions):
        if not view.image.staging and _to_stage(view, region, now, missed=region in missed):
            draft.do(StageImage(view.id, region, image, region in missed))
    for host in hosts:
        if host.instance.region in view.image.staged:
            _give_orders(view, host, image, draft, rules)


def _to_stage(view: JobView, region: Region, now: float, *, missed: bool) -> bool:
    """Not there yet; not seen there for long, as it expires; or a host does not find it: then a
    replacement would not find it either. Seen later than now, by a clock set back: looked at."""
    seen = view.image.staged.get(region)
    if seen is None or seen > now:
        return True
    return now - seen >= (MISSED_SECONDS if missed else STAGED_SECONDS)


def misses_its_image(status: Status) -> bool:
    """Whether the host says that it can't have it, for whatever reason: looking costs one HEAD."""
    return status.phase == "fetching" and status.last_error is not None


def _give_orders(
    view: JobView, host: Host, image: Image, draft: Draft, rules: EnclaveRules
) -> None:
    """desired.json, unless the host runs by it already."""
    if host.run is None and host.status is None and view.observed.reports_at is None:
        return
    if host.run is not None and _can_not_change(view, host, draft):
        return
    if host.run is not None and not _runs_other(view, host, image):
        return
    if not can_read_orders(view, host, image, rules):
        return
    draft.do(write_desired(view, host, image, next_run(view, host), rules))


def can_read_orders(view: JobView, host: Host, image: Image, rules: EnclaveRules) -> bool:
    """Whether the host's program, as old as its instance, reads what would be ordered now. One that
    said nothing yet is believed to: it refuses aloud if it does not."""
    if host.status is None:
        return True
    desired = write_desired(view, host, image, next_run(view, host), rules).desired
    return desired.schema <= host.status.knows


def too_old(view: JobView, host: Host, rules: EnclaveRules) -> str:
    """Why its host has to be replaced by one with a newer program, in words; empty: it need not.

    As long as nothing new is to be ordered of it, what runs on it runs on.
    """
    status, image = host.status, view.image.image
    if status is None or image is None or view.workload is None:
        return ""
    taken = host.run is not None and status.run_id == host.run
    if taken and (_runs_elsewhere(view, host) or not _runs_other(view, host, image)):
        return ""
    if can_read_orders(view, host, image, rules):
        return ""
    return f"its host program reads desired.json up to schema {status.knows}, which is too old"


def next_run(view: JobView, host: Host) -> str:
    """The name of the host's next run; its first where it has none."""
    restart = restarts(host.run) + 1 if host.run is not None else 0
    named = view.head.workload if view.head else None
    return run_id(host.generation, host.attempt, restart, named)


def _can_not_change(view: JobView, host: Host, draft: Draft) -> bool:
    """Whether the user asks for what this host can't become: what runs on it runs on."""
    if not _runs_elsewhere(view, host):
        return False
    text = f"{host.instance.id}: another type, region, size or family can't be had in place"
    draft.note("job.change_refused", f"{text}; what runs runs on", Level.ERROR)
    return True


def _runs_elsewhere(view: JobView, host: Host) -> bool:
    """Whether what is asked for is of another type, region, size or family than the host."""
    work, kind = view.head.workload if view.head else None, view.instance_type
    if work is None or kind is None:
        return False
    asked = (kind.region, kind.ec2_type)
    here = (host.instance.region, host.instance.instance_type)
    return here != asked or runs_elsewhere(host.run, work)


def _runs_other(view: JobView, host: Host, image: Image) -> bool:
    """Whether the host runs, or was told to run, something else than the job asks for now."""
    work = view.head.workload if view.head else None
    if work is not None and runs_other(host.run, work):
        return True
    status = host.status
    if status is None or status.run_id != host.run or status.image_sha256 is None:
        return False
    return status.image_sha256 != image.sha256


def write_desired(
    view: JobView, host: Host, image: Image, run: str, rules: EnclaveRules
) -> WriteDesired:
    """The orders for one host."""
    work = view.workload
    assert work is not None
    desired = Desired(
        run_id=run,
        image_sha256=image.sha256,
        image_bytes=image.size_bytes,
        cpu_count=work.cpu_count,
        memory_mib=work.memory_mib,
        debug=rules.debug or work.debug,
        console=work.debug,
        **_network(rules, _init(view.id, work, rules)),
    )
    where = (host.instance.region, host.instance.id)
    return WriteDesired(view.id, *where, desired, work.init_params)


def _init(job: JobId, work: Workload, rules: EnclaveRules) -> Init | None:
    """What the enclave asks its host for; standard images do even where they have no params."""
    if not work.init_params and rules.packets is None:
        return None
    sha256 = hashlib.sha256(work.init_params).hexdigest()
    return Init(f"0x{job:064x}", sha256, len(work.init_params))


def _network(rules: EnclaveRules, init: Init | None) -> dict[str, Any]:
    """The fields of `Desired` that say how the enclave reaches the world and its host."""
    given = {"init": init, "enclave_cid": STANDARD_CID} if init is not None else {}
    if rules.packets is None:
        return {**given, "ports": rules.ports, "egress": rules.egress}
    rate = {"egress_kbit": rules.packets.kbit, "mail": rules.packets.mail}
    return {**given, **rate, "network": PACKETS}


def question_for(view: JobView, host: Host, rules: EnclaveRules) -> Attest | None:
    """What an enclave is asked that its host says is running; None: it can't be asked now."""
    image, status = view.image.image, host.status
    work = view.head.workload if view.head else None
    if work is not None and runs_other(host.run, work):
        return None  # what it runs is another image than is known: it can't be judged by this one
    if image is None or status is None or status.phase != "running" or host.run is None:
        return None
    if status.run_id != host.run or host.instance.public_ip is None:
        return None
    debug = work is not None and work.debug
    return Attest(
        view.id, host.instance, image, host.run, _init_register(view, image, rules), debug
    )


def _init_register(view: JobView, image: Image, rules: EnclaveRules) -> str | None:
    """PCR16 as the init params lead to it, where the image is known to extend it with them. In
    debug mode nothing says which image that is, and any could extend it with anything."""
    work = view.workload
    if work is None or work.debug or rules.debug:
        return None
    return expected_pcr16(image.pcrs, work.init_params, rules.known_images)


def attest_when_due(
    question: Attest | None, host: Host, now: float, every: float, draft: Draft
) -> None:
    """Ask it, at most once in `every` seconds."""
    asked_at = host.probe.asked_at
    if question is None:
        return
    if asked_at is None or passed(now, asked_at, every):
        draft.do(question)
    else:
        draft.look_at(asked_at + every)
