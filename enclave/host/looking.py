"""Do one step with the enclave tools, then see what is so: the work of the machine's lane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from enclave.host import nitro_cli as nitro
from enclave.host.config import Places
from enclave.host.decide import Observed
from enclave.host.model import Allocate, Enclave, Install, Run, Step, Terminate


@dataclass(frozen=True)
class Looked:
    """What was done, and what was seen after it, at `at` (unix seconds).

    `known` is the wanted enclave that runs, as it was listed or started last.
    """

    seen: Observed
    step: Step | None
    step_error: str | None
    look_error: str | None
    at: float
    known: Enclave | None

    @property
    def ran(self) -> str:
        """The name of the enclave that was started; empty: none was."""
        return self.step.name if isinstance(self.step, Run) and self.step_error is None else ""


def step_and_look(
    places: Places,
    step: Step | None,
    known: Enclave | None,
    clock: Callable[[], float],
    *,
    packets: bool = False,
) -> Looked:
    """`known` ran at the last look: as long as its process lives it is not taken for dead."""
    step_error = look_error = None
    try:
        known = _carry_out(places, step) or known
    except (nitro.NitroError, OSError) as error:
        step_error = str(error)
    enclaves: tuple[Enclave, ...] | None = ()
    tools = nitro.tools_present(packets)
    try:
        enclaves = nitro.describe_enclaves(places) if tools else ()
    except nitro.NitroError as error:
        enclaves, look_error = None, str(error)
    if enclaves is not None and known is not None and _overlooked(known, enclaves, step):
        enclaves = None
        look_error = f"nitro-cli does not list {known.id}, but its process {known.pid} lives"
    seen = Observed(tools, False, nitro.allocated(places), enclaves)
    return Looked(seen, step, step_error, look_error, clock(), known)


def _carry_out(places: Places, step: Step | None) -> Enclave | None:
    """Do one step; the enclave that was started. Raises NitroError with the tool's own words."""
    if isinstance(step, Run):
        return nitro.run_enclave(places, step, places.images / step.desired.image_sha256)
    if isinstance(step, Install):
        nitro.install_tools(step.packets)
    elif isinstance(step, Terminate):
        nitro.terminate_enclave(places, step.enclave_id)
    elif isinstance(step, Allocate):
        nitro.allocate(places, step)
    return None


def _overlooked(known: Enclave, listed: tuple[Enclave, ...], step: Step | None) -> bool:
    """`describe-enclaves` leaves out what it could not reach just now, or what just booted."""
    ended = isinstance(step, Terminate) and step.enclave_id == known.id
    missing = all(one.id != known.id for one in listed)
    return missing and not ended and known.pid is not None and alive(known.pid)


def alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie (proc(5))."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"
