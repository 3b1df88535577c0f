"""Rounds of trying, a growing and jittered pause apart, within one fetch's guard."""

from __future__ import annotations

from collections.abc import Callable

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from enclave.web.guard import Guard


def rounds_of(guard: Guard, rounds: int, worth_it: Callable[[BaseException], bool]) -> Retrying:
    """Call the result with what to try; the last fault is raised as it is."""
    return Retrying(
        retry=retry_if_exception(worth_it),
        stop=stop_after_attempt(rounds),
        wait=wait_exponential_jitter(multiplier=0.5, max=10.0, jitter=0.5),
        sleep=guard.sleep,
        reraise=True,
    )
