"""Which jobs to serve. Each check is one function that says why not, or nothing.

A refusal before the purchase costs nothing but the stake's cool-down; so everything that can be
known from the job alone is asked before anything is bought, and the image's own facts as soon as
they are known. What is already running is never vetted again: a new policy is for new jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from agent.decide.job_view import JobView, parse_instance_type
from agent.market.model import Job, Price
from agent.market.workload import STANDARD_FAMILY
from agent.ports import Image
from cloud.model import ENCLAVE_LEAST_MIB
from enclave.eif.measure import signer_date_fault
from enclave.host.documents import MAX_INIT_BYTES
from enclave.web.image_list import ImageList


@dataclass(frozen=True, slots=True)
class PolicyRules:
    """What is served. A deny list wins over an allow list; an empty allow list allows all.

    `prices` are the types on offer and the least price of each, for markets on which anybody may
    open a job with us at any rate; without any, every type in `regions` is served at whatever was
    agreed. A market that matches what stands listed on it is bound to our own listings, and so are
    we: there a job is served as it was listed when it was matched, whatever the file says since.
    `per_owner` and `wasted_per_owner` bound one user's jobs at once and wasted launches a day; 0:
    no bound. `url_form` says why a URL can't be served, or nothing; the service puts the images'
    own reader of URLs there. `debug`: whether a job may ask for debug mode.
    """

    prices: Mapping[str, Price] = field(default_factory=dict)
    regions: frozenset[str] = frozenset()
    allow_owners: frozenset[str] = frozenset()
    deny_owners: frozenset[str] = frozenset()
    allow_images: ImageList = field(default_factory=ImageList)
    deny_images: ImageList = field(default_factory=ImageList)
    min_escrow_seconds: float = 600.0
    per_owner: int = 0
    wasted_per_owner: int = 0
    pass_by: frozenset[int] = frozenset()
    max_image_bytes: int = 2 << 30
    url_form: Callable[[str], str | None] = lambda url: None
    debug: bool = False
    families: frozenset[str] = frozenset({STANDARD_FAMILY})


class Weight(StrEnum):
    """What a refusal rests on; it matters where leaving costs a stake."""

    COSTS = "costs"  # the job can be served, and earns too little for it
    IMPOSSIBLE = "impossible"  # it can't be brought up here, whatever was paid
    FORBIDDEN = "forbidden"  # the operator's own word against this user or image


# Each rule's weight, and why.
WEIGHTS: Mapping[str, tuple[Weight, str]] = {
    "job": (Weight.IMPOSSIBLE, "there is nothing to serve"),
    "type": (Weight.IMPOSSIBLE, "no instance of it can be launched here"),
    "enclaves": (Weight.IMPOSSIBLE, "the type runs no enclave"),
    "owner": (Weight.FORBIDDEN, "a list of the operator's names or leaves out its user"),
    "price": (Weight.COSTS, "it pays less than is asked"),
    "escrow": (Weight.COSTS, "it pays for less time than a launch is worth"),
    "crowd": (Weight.FORBIDDEN, "its user has as many jobs as the operator allows"),
    "waste": (Weight.FORBIDDEN, "its user wasted as many launches as the operator allows"),
    "url": (Weight.IMPOSSIBLE, "nothing can be fetched from it"),
    "image": (Weight.FORBIDDEN, "a list of the operator's names or leaves out the image"),
    "size": (Weight.IMPOSSIBLE, "it is not fetched beyond the limit"),
    "architecture": (Weight.IMPOSSIBLE, "the type can't run it"),
    "memory": (Weight.IMPOSSIBLE, "it does not fit into the type"),
    "passed_by": (Weight.FORBIDDEN, "the operator named this very job"),
    "closed": (Weight.FORBIDDEN, "the operator takes no new jobs just now"),
    "cpu": (Weight.IMPOSSIBLE, "the type gives an enclave fewer, or whole cores alone"),
    "metadata": (Weight.IMPOSSIBLE, "what its user wrote says not what to run"),
    "family": (Weight.IMPOSSIBLE, "hosts here are made for images of other families"),
    "debug": (Weight.FORBIDDEN, "nobody could tell what runs there"),
    "init_params": (Weight.IMPOSSIBLE, "more bytes than an enclave is given"),
    "signer": (Weight.IMPOSSIBLE, "nitro-cli starts no image of an expired signer"),
    "launch": (Weight.IMPOSSIBLE, "EC2 has no such instance for anybody"),
}


def weight_of(rule: str) -> Weight:
    """What a rule's refusal rests on. Raises KeyError for a rule without a row."""
    return WEIGHTS[rule][0]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a job is not served: a word for metrics, a sentence for people."""

    rule: str
    text: str


JobCheck = Callable[[JobView, Job, PolicyRules], Refusal | None]


def vet(view: JobView, rules: PolicyRules) -> tuple[Refusal, ...]:
    """Every reason not to serve the job as the head shows it; empty: it is served."""
    job = view.head
    if job is None:
        return (Refusal("job", f"job {view.id} is not on the chain"),)
    if job.unreadable:
        return (Refusal("metadata", job.unreadable),)
    found = (check(view, job, rules) for check in JOB_CHECKS)
    return tuple(refusal for refusal in found if refusal is not None)


def still_costs(view: JobView, rules: PolicyRules) -> tuple[Refusal, ...]:
    """What speaks against the job and only costs money, as the head shows it now."""
    return tuple(one for one in vet(view, rules) if weight_of(one.rule) is Weight.COSTS)


def vet_change(
    view: JobView, rules: PolicyRules, now: float, *, other_type: bool
) -> tuple[Refusal, ...]:
    """Every reason not to buy or order what a job that was taken has been changed to. Its user, its
    funds and its rate were judged when it was; at another type its rate is judged by that type."""
    job, image = view.head, view.image.image
    if job is None or job.unreadable:
        return (Refusal("metadata", job.unreadable if job else "there is none"),)
    checks = (*CHANGE_CHECKS, *(TYPE_CHECKS if other_type else ()))
    found = (check(view, job, rules) for check in checks)
    of_image = vet_image(image, view, rules, now) if image is not None else ()
    return (*(refusal for refusal in found if refusal is not None), *of_image)


def vet_image(image: Image, view: JobView, rules: PolicyRules, now: float) -> tuple[Refusal, ...]:
    """Every reason not to start the image at `now`, now that its bytes are known."""
    return (*_image_refusals(image, view, rules), *_signer_refusals(image, view, now))


def _open_for_new(view: JobView, job: Job, rules: PolicyRules) -> Refusal | None:
    """Where users open jobs as they like, hiding what is offered keeps none of them away."""
    if not view.facts.closed or view.terms.abilities.lists_on_chain:
        return None
    return Refusal("closed", f"no new jobs are taken: {view.facts.closed}")


def _type_offered(view: JobView, job: Job, rules: PolicyRules) -> Refusal | None:
    kind = parse_instance_type(job.instance_type)
    if kind is None:
        return Refusal("type", f"{job.instance_type!r} is not <region>/<ec2 type>")
    if rules.regions and kind.region not in rules.regions:
        return Refusal("type", f"{kind.region} is not a region of this provider")
    prices = _asked(view, job, rules)
    if prices and job.instance_type not in prices:
        return Refusal("type", f"{job.instance_type} is not on offer here")
    return None


def _asked(view: JobView, job: Job, rules: PolicyRules) -> Mapping[str, Price]:
    """What is asked of a job beside the market's own matching; nothing, where the contract gave the
    job to the listing that we had: refusing it would cost the stake of an offer that we made. Where
    cards are our own word, what they asked when it was matched, or less."""
    if view.terms.abilities.lists_on_chain:
        return {}
    then, now = view.facts.asked, rules.prices.get(job.instance_type)
    if then is None:
        return rules.prices
    return {**rules.prices, job.instance_type: then if now is None else min(then, now)}


def _type_has_enclaves(view: JobView, job: Job, rules: PolicyRules) -> Refusal | None:
    return Refusal("enclaves", view.room_refused) if view.room_refused else None


def _size(view: JobView, job: Job, rules: PolicyRules) -> Refusal | None:
    work, room = job.workload, view.room
    if work is None or room is None:
        return None
    if work.memory_mib > room.memory_mib:
        text = f"asks for {work.memory_mib} MiB, the type gives {room.memory_mib} MiB"
        return Refusal("memory", text)
    if work.memory_mib < ENCLAVE_LEAST_MIB:
        text = f"asks for {work.memory_mib} MiB, an enclave has {ENCLAVE_LEAST_MIB} MiB at least"
        return Refusal("memory", text)
    if work.cpu_count > room.cpu_count:
        text = f"asks for {work.cpu_count} CPUs, the type gives {room.cpu_count} to an enclave"
        return Refusal("cpu", text)
    if work.cpu_count % room.threads_per_core:
        text = f"asks for {work.cpu_count} CPUs, an enclave has whole cores"
        return Refusal("cpu", f"{text}: the type's have {room.threads_per_core} CPUs each")
    return None


def _family(view: JobView, job: Job, rules: PolicyRules) -> Refusal | None:
    if job.workload is None or job.workload.family in rules.families:
        return None
    known = ", ".join(sorted(rules.families))
    return Refusal("family", f"images of the family {job.workload.family} are not served: {known}")


def _debug(view: JobView, job: Job, rules: PolicyRules) -> Refusal | None:
    if job.workload is None or not job.workload.debug or rules.debug:
        return None
    text = "an enclave in debug mode proves no image; none is served here (jobs.debug)"
    return Refusal("debug", text)


def _init_params(view: JobView, job: Job, rules: PolicyRules) -> Refusal | None:
    length = len(job.workload.init_params) if job.workload is not None else 0
    if length <= MAX_INIT_BYTES:
        return None
    text = f"init params of {length} bytes; an enclave is given at most {MAX_INIT_BYTES}"
    return Refusal("init_params", text)


def _owner(view: JobView, job: Job, rules: PolicyRules) -> Refusal | None:
    owner = job.user.lower()
    if owner in {entry.lower() for entry in rules.deny_owners}:
        return Refusal("owner", f"{job.user} is on the deny list of owners")
    if rules.allow_owners and owner not in {entry.lower() for entry in rules.allow_owners}:
        return Refusal("owner", f"{job.user} is not on the allow list of owners")
    return None


def _price(view: JobView, job: Job, rules: PolicyRules) -> Refusal | None:
    least = _asked(view, job, rules).get(job.instance_type)
    if least is not None and job.price < least:
        return Refusal("price", f"pays {job.price.raw}, listed at {least.raw} (10^-12 units/s)")
    return None


def _escrow(view: JobView, job: Job, rules: PolicyRules) -> Refusal | None:
    """What it paid for already counts: one that was funded since is worth what it is in all."""
    least, paid_for = int(rules.min_escrow_seconds), _settled_seconds(job)
    if job.escrow < view.terms.owed(job.price, max(0, least - paid_for)):
        seconds = paid_for + job.escrow * Price.SCALE // job.price.raw
        return Refusal("escrow", f"the escrow pays for {seconds} s, at least {least} s are asked")
    return None


def _settled_seconds(job: Job) -> int:
    """For how long the provider was paid for it so far."""
    return max(0, job.settled_until - job.started_at) if job.started_at else 0


def _crowd(view: JobView, job: Job, rules: PolicyRules) -> Refusal | None:
    if not rules.per_owner or view.facts.owner_jobs < rules.per_owner:
        return None
    return Refusal("crowd", f"{job.user} has {view.facts.owner_jobs} jobs here already")


def _waste(view: JobView, job: Job, rules: PolicyRules) -> Refusal | None:
    wasted = view.facts.owner_wasted
    if not rules.wasted_per_owner or wasted < rules.wasted_per_owner:
        return None
    return Refusal("waste", f"{wasted} launches for {job.user} came to nothing in the last day")


def _url(view: JobView, job: Job, rules: PolicyRules) -> Refusal | None:
    wrong = rules.url_form(job.enclave_url)
    return Refusal("url", wrong) if wrong else None


def _named_image(view: JobView, job: Job, rules: PolicyRules) -> Refusal | None:
    """Both lists are asked with what the URL names, before anything is bought or fetched."""
    if rules.deny_images.names(job.enclave_url):
        return Refusal("image", "the image that the URL names is on the deny list")
    if rules.allow_images and rules.allow_images.names(job.enclave_url) is False:
        return Refusal("image", "the image that the URL names is not on the allow list")
    return None


def _passed_by(view: JobView, job: Job, rules: PolicyRules) -> Refusal | None:
    if job.id not in rules.pass_by:
        return None
    return Refusal("passed_by", "the operator passes it by (jobs.pass_by)")


JOB_CHECKS: tuple[JobCheck, ...] = (
    _passed_by,
    _open_for_new,
    _type_offered,
    _type_has_enclaves,
    _size,
    _family,
    _debug,
    _init_params,
    _owner,
    _price,
    _escrow,
    _crowd,
    _waste,
    _url,
    _named_image,
)

# Of these, what users may change where a market lets them.
TYPE_CHECKS: tuple[JobCheck, ...] = (_type_offered, _price)
CHANGE_CHECKS: tuple[JobCheck, ...] = (
    _type_has_enclaves,
    _size,
    _family,
    _debug,
    _init_params,
    _url,
    _named_image,
)


def _listed(image: Image, images: ImageList) -> bool:
    known = images.has(image.cid, image.sha256, image.pcrs.get(0, ""))
    return known or images.names(image.url) is True


def _image_refusals(image: Image, view: JobView, rules: PolicyRules) -> Iterator[Refusal]:
    if _listed(image, rules.deny_images):
        yield Refusal("image", f"image {image.cid} is on the deny list")
    elif rules.allow_images and not _listed(image, rules.allow_images):
        yield Refusal("image", f"image {image.cid} is not on the allow list")
    if image.size_bytes > rules.max_image_bytes:
        least = rules.max_image_bytes
        yield Refusal("size", f"the image has {image.size_bytes} bytes, at most {least} are served")
    if view.room is None:
        return
    if image.architecture != view.room.architecture:
        text = f"the image is for {image.architecture}, the type is {view.room.architecture}"
        yield Refusal("architecture", text)
    memory_mib = view.workload.memory_mib if view.workload else view.room.memory_mib
    if image.min_memory_mib > memory_mib:
        text = f"needs {image.min_memory_mib} MiB, the enclave gets {memory_mib} MiB"
        yield Refusal("memory", text)


def _signer_refusals(image: Image, view: JobView, now: float) -> Iterator[Refusal]:
    """nitro-cli starts nothing whose signing certificate is out of date; what runs, runs on."""
    up = any(
        host.attested or (host.status and host.status.phase == "running") for host in view.live
    )
    broken = None if up else signer_date_fault(image.signer, now)
    if broken is not None:
        yield Refusal("signer", broken.text)
