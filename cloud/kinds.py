"""What AWS's refusals mean to the caller: faults named by what to do about them.

`cloud.codes` says which code is which of these, `cloud.errors` raises them. Only `Refused` and its
like end anything: they are for what the user asked for, or for a thing that is not there. What an
operator or a minute mends is `OwnTrouble`, and waited for.
"""

from __future__ import annotations

from faults import Refused, RetryLater, TryElsewhere


class Throttled(RetryLater):
    """AWS refused the call for its rate: nothing was done, the same call later may pass."""


class OutcomeUnknown(RetryLater):
    """No answer, or an answer that says nothing: it may have been done. Only the same call again
    (same ClientToken, same zone) is safe."""


class Busy(RetryLater):
    """What is named is between two states, or another call holds it: nothing was done, and the
    same call passes when that is over."""


class OwnTrouble(RetryLater):
    """This account or its set-up is in the way, not what was asked for. An operator or a minute
    mends it while the agent goes on, so no job is given up for it; it is said loudly instead."""


class NotAllowed(OwnTrouble):
    """No or wrong credentials, a policy, a clock or the account's own state in the way."""


class NotSetUp(OwnTrouble):
    """What `oyster-provider cloud setup` makes, or the configuration names, is missing, not ready
    yet or does not fit together."""


class ImageRefused(NotSetUp):
    """The machine image (AMI) can't be launched from as it is; another image may do."""


class NotHere(NotSetUp):
    """This subnet or zone can't be used as it is set up; another one of the region may do."""


class Unexplained(OwnTrouble):
    """A refusal with a code that is in no table. Nothing in it blames the job, so nothing is given
    up for it; nor does it prove that nothing was done."""


class NoCapacity(TryElsewhere):
    """This zone has no room for this type now: a definite refusal, nothing was launched."""


class QuotaReached(TryElsewhere):
    """The account's quota in this region is used up; other zones of the region share it."""


class ParametersDiffer(TryElsewhere):
    """This ClientToken has launched already, with other parameters."""


class Missing(Refused):
    """What was named does not exist, or cannot be seen yet."""


class NoSuchType(Missing):
    """EC2 has no instance type of that name in the region: what the user asked for."""
