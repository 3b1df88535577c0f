"""What is proven of a job's enclave, and what is not: the image, the instance, its init params."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.journal.lines import ATTESTED, IMAGE_PINNED, IMAGE_READY, Event
from agent.load.pins import name_of
from agent.market.model import Job
from enclave.web.image_url import BadUrl, HttpsUrl, OpenUrl, parse_open_url

BY_URL, BY_DIGEST, BY_CID = "url", "digest", "cid"


@dataclass(frozen=True, slots=True)
class Proofs:
    """`named_by`: what names the image, one of the words above; empty: nothing that is fetched.
    `sha256`: the file that an image by URL alone was found to be. `known`: where an image that is
    known by its PCRs is published. `attested_at` is the newest proof in the journal, in unix
    seconds; 0: none. `init_params`: whether their register was among what it proved; None: the job
    has none."""

    named_by: str
    sha256: str
    known: str
    attested_at: float
    init_params: bool | None
    debug: bool


def proofs_of(job: Job, timeline: Sequence[Event]) -> Proofs:
    """By the job as it is and its timeline, oldest line first."""
    attested, work = _attested(timeline), job.workload
    pinned = (line for line in timeline if line.name == IMAGE_PINNED)
    url_name = name_of(job.enclave_url)
    pins = [line for line in pinned if line.fields.get("url_name") == url_name]
    ready = _last(timeline, IMAGE_READY)
    proven = attested is not None and attested.fields.get("init_params") == "proven"
    return Proofs(
        named_by=_named_by(job.enclave_url),
        sha256=str(pins[0].fields.get("sha256", "")) if pins else "",
        known=str(ready.fields.get("known", "")) if ready else "",
        attested_at=attested.at if attested else 0.0,
        init_params=proven if work is not None and work.init_params else None,
        debug=work is not None and work.debug,
    )


def _attested(timeline: Sequence[Event]) -> Event | None:
    """The newest proof, unless another image came after it."""
    found = [line for line in timeline if line.name in (ATTESTED, IMAGE_READY)]
    return found[-1] if found and found[-1].name == ATTESTED else None


def _last(timeline: Sequence[Event], name: str) -> Event | None:
    return next((line for line in reversed(timeline) if line.name == name), None)


def _named_by(url: str) -> str:
    try:
        found = parse_open_url(url)
    except BadUrl:
        return ""
    if isinstance(found, OpenUrl):
        return BY_URL
    return BY_DIGEST if isinstance(found, HttpsUrl) else BY_CID


def said(proofs: Proofs) -> list[tuple[str, str]]:
    """For people: a line each of the image, the enclave and what it was given."""
    return [("image is", _image(proofs)), ("proven", _enclave(proofs)), *_params(proofs)]


def _image(proofs: Proofs) -> str:
    words = {
        BY_CID: "named by its CID",
        BY_DIGEST: "named by the digest in its URL",
        BY_URL: "image by URL alone: nobody else can tell what was there",
    }
    text = words.get(proofs.named_by, "nothing that can be fetched")
    if proofs.named_by == BY_URL and proofs.sha256:
        text += f"; runs what was there first, SHA-256 {proofs.sha256}"
    return f"{text}; known: {proofs.known}" if proofs.known else text


def _enclave(proofs: Proofs) -> str:
    if not proofs.attested_at:
        return "nothing yet"
    if proofs.debug:
        return "the instance; not the image: PCR0 to PCR2 are zeros in debug mode"
    return "instance and image (its PCRs)"


def _params(proofs: Proofs) -> list[tuple[str, str]]:
    if proofs.init_params is None:
        return []
    if proofs.init_params:
        return [("init params", "init params proven: PCR16 is what they lead to")]
    if proofs.debug:
        return [("init params", "given to the enclave; not proven: in debug mode nothing can be")]
    return [("init params", "given to the enclave; not proven: it is not known to extend PCR16")]
