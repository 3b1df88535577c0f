"""From the lines of timelines to the counters that Prometheus reads."""

from __future__ import annotations

from agent.journal import ENDED, Event
from agent.status import Metrics

_REPAIRS = {"enclave.restarted": "enclave_restart", "job.replaced": "host_replace"}
_TRANSACTIONS = {
    "tx.report_started": "report_started",
    "tx.settled": "settle",
    "tx.exit_requested": "request_exit",
    "tx.exit_finalized": "finalize_exit",
}


def count(metrics: Metrics, event: Event) -> None:
    """Count what one line says."""
    if event.name in _REPAIRS:
        metrics.repair(_REPAIRS[event.name])
    elif event.name == "launch.asked" and event.fields.get("race"):
        metrics.repair("race")
    elif event.name == "job.refused":
        metrics.job_refused(event.text.partition(":")[0])
    elif event.name == ENDED:
        metrics.job_ended(event.text)
    elif event.name in _TRANSACTIONS:
        gas = int(event.fields.get("fee_wei", 0))
        metrics.transaction(_TRANSACTIONS[event.name], "mined", gas_wei=gas)
    elif event.name == "tx.refused":
        metrics.transaction("other", "refused")
