"""Whether the source of our AWS credentials gives others by now, and whether they may be taken.

botocore reads a credentials file once a session, so that a key or a session token which something
renews in the file (a sidecar, `aws sso`, a rotation) would be refused for ever. Others are taken of
the same account alone: in another one nothing of ours runs, and all of it would be bought again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import boto3
import structlog

from cloud.errors import translated
from faults import Fault

log = structlog.get_logger()

LOOK_SECONDS = 15.0  # between two looks, while AWS refuses what we have

Account = Callable[[boto3.Session], str]


class KeysAnew:
    """Of the sessions of one process. `begin` makes a session as the SDK finds its credentials,
    `account` asks AWS whose it is."""

    def __init__(self, begin: Callable[[], boto3.Session], account: Account) -> None:
        self._begin, self._account = begin, account
        self._looked_at: float | None = None
        self._ours = ""  # the account, once AWS told

    def hear(self, parsed: dict[str, Any], **_: object) -> None:
        """A handler of botocore's `after-call` of GetCallerIdentity: whose our keys are."""
        self._ours = self._ours or str(parsed.get("Account", ""))

    def due(self, steady: float) -> bool:
        """Whether to look now, by a clock that nobody sets; it counts as done."""
        if not self._ours or (
            self._looked_at is not None and steady - self._looked_at < LOOK_SECONDS
        ):
            return False
        self._looked_at = steady
        return True

    def look(self, now: boto3.Session) -> boto3.Session | None:
        """A session with other keys of the same account; None: there are none. Asks AWS."""
        with suppress(Fault), translated("looking for other AWS credentials"):
            other = self._begin()
            if _keys(other) in (None, _keys(now)):
                return None
            account = self._account(other)
            if account == self._ours:
                log.warning("aws.keys_anew", text="other credentials were found, and are used")
                return other
            log.error("aws.keys_of_another_account", account=account, ours=self._ours)
        return None


def _keys(session: boto3.Session) -> tuple[str, ...] | None:
    """None: there are none, or their source can't be asked."""
    with suppress(Fault), translated("reading AWS credentials"):
        if (given := session.get_credentials()) is not None:
            found = given.get_frozen_credentials()
            return tuple(str(one) for one in (found.access_key, found.secret_key, found.token))
    return None
