"""The running agent, asked over its status address: its word of itself, and of a job's hosts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faults import Refused, RetryLater, printable

_ANSWER_SECONDS = 3.0
_GLANCE_SECONDS = 1.0  # for what is shown beside, where there is an agent


class NotYet(RetryLater):
    """An agent runs, and waits for something before it can serve; the message says for what."""


def ask_agent(listen: str, *, jobs: bool = False) -> dict[str, Any]:
    """The agent's word of itself, with all its `jobs`, or how many there are in each state
    (`counts`). Raises RetryLater: nobody answers there; NotYet: one who waits to start;
    UsageFault: no address is set."""
    import httpx

    from faults import UsageFault

    if not listen:
        raise UsageFault("status.listen is empty: the agent serves no status")
    try:
        with httpx.Client(timeout=_ANSWER_SECONDS, trust_env=False) as client:
            answer = client.get(f"http://{listen}{'/jobs' if jobs else '/now?count=1'}")
        view = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise RetryLater(
            f"no agent answers on {listen}; start it: systemctl start oyster-provider,"
            " or by hand: oyster-provider run"
        ) from error
    if isinstance(view, dict) and isinstance(waiting := view.get("waiting"), str):
        raise NotYet(f"the agent on {listen} does not serve yet: {printable(waiting)}")
    if answer.status_code != 200 or not isinstance(view, dict) or "jobs" not in view:
        raise RetryLater(f"{listen} answers, but it is not the agent (status {answer.status_code})")
    return view


def ask_hosts(listen: str, job: int, provider: str) -> list[dict[str, Any]] | None:
    """The instances of a job as this provider's agent knows them; None: none answers there."""
    import httpx

    try:
        with httpx.Client(timeout=_GLANCE_SECONDS, trust_env=False) as client:
            found = client.get(f"http://{listen}/job/{job}.json").json()
        whose = found["chain"]["provider"]
        hosts: list[dict[str, Any]] = found["attestation"]["hosts"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        return None
    return hosts if str(whose).lower() == provider.lower() else None


def require_same_file(view: Mapping[str, Any], path: Path) -> None:
    """Returns where the agent goes by this file, or by one that is not of this machine (a
    container's). Raises Refused: by another, and what is written here it would never read."""
    place = str(view.get("config") or "")
    try:
        same = not place or Path(place).samefile(path)
    except (OSError, ValueError):
        return
    if not same:
        raise Refused(f"the agent that runs goes by {place}, not by {path}: --config {place}")
