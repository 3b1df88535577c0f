"""AWS error codes -> what the caller should do. The only module that names a botocore exception.

`translated("launching job 7")` around a call turns whatever botocore raises into one of the
classes of `cloud.kinds`, by the table of `cloud.codes`. Codes that are not in it: a 5xx or a broken
connection leaves the outcome unknown, any other 4xx is unexplained, and blames nobody's job.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
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
from botocore.parsers import ResponseParserError

from cloud.codes import CODES, Row
from cloud.kinds import (
    Busy,
    Missing,
    NotAllowed,
    NotSetUp,
    OutcomeUnknown,
    OwnTrouble,
    Throttled,
    Unexplained,
)
from faults import Fault, printable

T = TypeVar("T")

MESSAGE_LIMIT = 400  # characters: an encoded authorization failure has thousands
# What some services wrap a code in: SOAP's side of the blame, a namespace, a URL after it.
_WRAPPED = re.compile(r"(?:.*#)?(?:(?:Client|Server)\.)?(?P<code>[^:#]+)(?::.*)?", re.DOTALL)
_ENDINGS = tuple(code.removeprefix("*") for code in CODES if code.startswith("*"))
# Of a code that nobody foresaw, its status may say this much; of other 4xx, nothing.
_BY_STATUS: Mapping[int, type[Fault]] = {
    401: NotAllowed, 403: NotAllowed, 408: OutcomeUnknown, 409: Busy, 412: Busy, 429: Throttled,
}  # fmt: skip
_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    ProfileNotFound,
    ConfigParseError,
    SSOError,
    TokenRetrievalError,
)
# What botocore raises over a body that is no XML or JSON, or of members in odd places.
_UNREADABLE = (
    ResponseParserError, ValueError, KeyError, IndexError, TypeError, AttributeError,
)  # fmt: skip
_MISUSE = (ParamValidationError, NoRegionError, UnknownRegionError)


def code_of(error: ClientError) -> str:
    """AWS's own code of an error reply; "" when the reply has none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def row_of(code: str) -> Row | None:
    """The row of an error reply's code, however it is wrapped; None: it is in no row."""
    wrapped = _WRAPPED.fullmatch(code)
    for name in (code, wrapped["code"] if wrapped else code):
        if name in CODES:
            return CODES[name]
        for ending in _ENDINGS:
            if name.endswith(ending):
                return CODES[f"*{ending}"]
    return None


def kind_of(code: str, http_status: int = 400) -> type[Fault]:
    """The class of faults that an error reply with this code and status belongs to.

    A code that is in no row does no harm: a 4xx is no verdict on what was asked for, and a 5xx
    leaves open whether it was done.
    """
    row = row_of(code)
    if row is not None:
        return row.kind
    if 300 <= http_status < 400:
        return NotSetUp  # another region's endpoint, or something between us and AWS
    if 400 <= http_status < 500:
        return _BY_STATUS.get(http_status, Unexplained)
    return OutcomeUnknown


def fault_of(error: BotoCoreError | ClientError, doing: str) -> Fault:
    """What to raise for `error`, met while `doing` (a few words, with the job or file)."""
    if isinstance(error, ClientError):
        return _answered(error, doing)
    if isinstance(error, _CREDENTIALS):
        return NotAllowed(f"{doing}: no AWS credentials: {error}; see `aws configure` or IAM roles")
    if isinstance(error, _MISUSE):
        return NotSetUp(f"{doing}: {error}; see [aws] in the configuration")
    return OutcomeUnknown(f"{doing}: no answer from AWS: {error}")


def _answered(error: ClientError, doing: str) -> Fault:
    code = code_of(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
    kind, row = kind_of(code, status), row_of(code)
    text = f"{doing}: AWS answered {code}: {_message(error)}"
    if issubclass(kind, OwnTrouble) and row is not None:
        text = f"{text} ({row.reason})"
    return kind(text)


def _message(error: ClientError) -> str:
    text = printable(str(error.response.get("Error", {}).get("Message", "")))
    return text if len(text) <= MESSAGE_LIMIT else f"{text[:MESSAGE_LIMIT]}…"


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise the fault of whatever botocore raises inside."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise fault_of(error, doing) from error


@contextmanager
def readable(doing: str) -> Iterator[None]:
    """Raise OutcomeUnknown where an answer is of no form that botocore or its reader here knows:
    what a foreign answer can trigger is a fault, never a bug."""
    try:
        yield
    except _UNREADABLE as error:
        raise OutcomeUnknown(f"{doing}: AWS's answer can't be read: {error!r:.300}") from error


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
