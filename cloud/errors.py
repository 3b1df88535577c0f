"""AWS error codes -> what the caller should do. The only module that names a botocore exception.

`translated("launching job 7")` around a call turns whatever botocore raises into one of the
classes below, all of them `faults`. Codes not listed: a 5xx or a broken connection leaves the
outcome unknown, any other 4xx is a request that will fail the same way again.

Sources: EC2 API reference, "Error codes for the Amazon EC2 API"; S3 API reference, "List of error
codes"; Karpenter's list of what means "no capacity here".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigParseError,
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
    UnknownRegionError,
)

from cloud.model import AttemptSpent
from faults import Fault, Refused, RetryLater, TryElsewhere

T = TypeVar("T")


class Throttled(RetryLater):
    """AWS refused the call for its rate: nothing was done, the same call later may pass."""


class OutcomeUnknown(RetryLater):
    """No answer, or an answer that says nothing: it may have been done. Only the same call again
    (same ClientToken, same zone) is safe."""


class NotAllowed(RetryLater):
    """No or wrong credentials, or a policy in the way. An operator repairs that while the agent
    goes on, so no job is given up for it."""


class NoCapacity(TryElsewhere):
    """This zone has no room for this type now: a definite refusal, nothing was launched."""


class QuotaReached(TryElsewhere):
    """The account's quota in this region is used up; other zones of the region share it."""


class ParametersDiffer(TryElsewhere):
    """This ClientToken has launched already, with other parameters."""


class Missing(Refused):
    """What was named does not exist, or cannot be seen yet."""


class NotSetUp(RetryLater):
    """The region lacks what `oyster-provider cloud setup` makes. An operator repairs that while
    the agent goes on."""


def _codes(words: str) -> frozenset[str]:
    return frozenset(words.split())


THROTTLED = _codes(
    "RequestLimitExceeded Throttling ThrottlingException ThrottledException SlowDown "
    "RequestThrottled RequestThrottledException TooManyRequestsException "
    "EC2ThrottledException PriorRequestNotComplete BandwidthLimitExceeded"
)
NO_CAPACITY = _codes(
    "InsufficientInstanceCapacity InsufficientHostCapacity InsufficientCapacity "
    "InsufficientReservedInstanceCapacity MaxSpotInstanceCountExceeded UnfulfillableCapacity "
    "Unsupported InsufficientFreeAddressesInSubnet InsufficientCapacityOnHost "
    "InsufficientVolumeCapacity InsufficientAddressCapacity"
)
QUOTA = _codes(
    "VcpuLimitExceeded InstanceLimitExceeded AddressLimitExceeded VolumeLimitExceeded "
    "MaxIOPSLimitExceeded ResourceLimitExceeded PendingVerification NetworkInterfaceLimitExceeded "
    "LimitExceeded LimitExceededException"
)
NOT_ALLOWED = _codes(
    "UnauthorizedOperation AuthFailure AccessDenied AccessDeniedException Forbidden 403 "
    "InvalidClientTokenId InvalidAccessKeyId SignatureDoesNotMatch ExpiredToken "
    "ExpiredTokenException RequestExpired RequestTimeTooSkewed OptInRequired Blocked "
    "UnrecognizedClientException IncompleteSignature"
)
MISSING = _codes(
    "NoSuchKey NoSuchBucket NoSuchUpload NoSuchEntity NoSuchEntityException NotFound 404 "
    "NoSuchBucketPolicy NoSuchLifecycleConfiguration NoSuchTagSet NoSuchResourceException "
    "ParameterNotFound ServerSideEncryptionConfigurationNotFoundError "
    "NoSuchPublicAccessBlockConfiguration OwnershipControlsNotFoundError "
    "InvalidInstanceType"
)
UNKNOWN = _codes(
    "InternalError InternalFailure InternalServerError ServerInternal ServiceUnavailable "
    "ServiceUnavailableException Unavailable RequestTimeout RequestTimeoutException "
    "OperationAborted ServiceException ServiceFailure"
)
# Where "not there" is written into the code: InvalidInstanceID.NotFound, InvalidAllocationID.…
MISSING_ENDINGS = (".NotFound", ".Malformed", ".Unavailable")

_BY_CODE: tuple[tuple[frozenset[str], type[Fault]], ...] = (
    (THROTTLED, Throttled),
    (NO_CAPACITY, NoCapacity),
    (QUOTA, QuotaReached),
    (frozenset({"IdempotentInstanceTerminated"}), AttemptSpent),
    (frozenset({"IdempotentParameterMismatch"}), ParametersDiffer),
    (NOT_ALLOWED, NotAllowed),
    (MISSING, Missing),
    (UNKNOWN, OutcomeUnknown),
)
_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    ProfileNotFound,
    ConfigParseError,
    SSOError,
    TokenRetrievalError,
)
_MISUSE = (ParamValidationError, NoRegionError, UnknownRegionError)


def code_of(error: ClientError) -> str:
    """AWS's own code of an error reply; "" when the reply has none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def kind_of(code: str, http_status: int = 400) -> type[Fault]:
    """The class of faults that an error reply with this code belongs to."""
    for codes, kind in _BY_CODE:
        if code in codes:
            return kind
    if code.endswith(MISSING_ENDINGS):
        return Missing
    return OutcomeUnknown if http_status >= 500 else Refused


def fault_of(error: BotoCoreError | ClientError, doing: str) -> Fault:
    """What to raise for `error`, met while `doing` (a few words, with the job or file)."""
    if isinstance(error, ClientError):
        code = code_of(error)
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
        text = error.response.get("Error", {}).get("Message", "")
        return kind_of(code, status)(f"{doing}: AWS answered {code}: {text}")
    if isinstance(error, _CREDENTIALS):
        return NotAllowed(f"{doing}: no AWS credentials: {error}; see `aws configure` or IAM roles")
    if isinstance(error, _MISUSE):
        return Refused(f"{doing}: {error}")
    return OutcomeUnknown(f"{doing}: no answer from AWS: {error}")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise the fault of whatever botocore raises inside."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise fault_of(error, doing) from error


def would_work(call: Callable[[], object]) -> None:
    """Returns when AWS answers a call with DryRun=True that it would have worked (EC2 API
    reference, DryRun); everything else it answers is raised."""
    try:
        call()
    except ClientError as error:
        if code_of(error) != "DryRunOperation":
            raise


def or_none(ask: Callable[[], T]) -> T | None:
    """What `ask` answers, or None when AWS says that there is no such thing."""
    try:
        with translated("looking"):
            return ask()
    except Missing:
        return None
