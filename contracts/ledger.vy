# pragma version 0.4.3
"""
@title Ledger
@license Apache-2.0
@notice What is stored of jobs, and how a job is brought up to now, matched and ended.
@dev Nothing here moves tokens: what is to be paid is handed back, and paid last.
"""

import escrow
import offers
import parameters
import stake

uses: offers
uses: parameters
uses: stake

event JobAssigned:
    jobId: indexed(uint256)
    provider: indexed(address)
    generation: uint256
    price: uint256
    assignedAt: uint256

event JobSettled:
    jobId: indexed(uint256)
    provider: indexed(address)
    amount: uint256

event JobStopped:
    jobId: indexed(uint256)
    provider: indexed(address)
    reason: uint256

# A job as it is stored, without its texts; the status follows from the times.
struct Record:
    user: address
    provider: address
    head: uint256 # of its instance type in the book
    maxPrice: uint256
    price: uint256
    generation: uint256
    stopReason: uint256
    assignedAt: uint256
    startedAt: uint256
    exitRequestedAt: uint256
    stoppedAt: uint256
    escrow: uint256
    settledUntil: uint256
    paid: uint256 # to this provider on this assignment
    place: uint256 # among the provider's active jobs

USER_REQUEST: constant(uint256) = 1
ESCROW_EXHAUSTED: constant(uint256) = 2
PROVIDER_EXIT: constant(uint256) = 3
NO_PROVIDER: constant(uint256) = 4


_count: uint256
_records: HashMap[uint256, Record]
_urls: HashMap[uint256, String[512]]
_endpoints: HashMap[uint256, String[128]]
_active_count: HashMap[address, uint256]
_active: HashMap[address, HashMap[uint256, uint256]]


@internal
@view
def _check_exists(job_id: uint256):
    assert job_id > 0 and job_id <= self._count, "no such job"


@internal
@view
def _check_active(job_id: uint256):
    self._check_exists(job_id)
    assert not self._is_stopped(job_id), "job is over"


@internal
@view
def _is_stopped(job_id: uint256) -> bool:
    return self._records[job_id].stopReason != 0


@internal
@view
def _exit_at(job_id: uint256) -> uint256:
    """The second from which the job is over by exit; the end of time without a request."""
    requested: uint256 = self._records[job_id].exitRequestedAt
    if requested == 0:
        return max_value(uint256)
    return requested + parameters.JOB_EXIT_COOL_DOWN


@internal
def _settle_alive(job_id: uint256) -> escrow.Due:
    """Brings a job up to now and reverts if it is over."""
    self._check_active(job_id)
    due: escrow.Due = self._settle(job_id)
    assert not self._is_stopped(job_id), "job is over"
    return due


@internal
def _settle(job_id: uint256) -> escrow.Due:
    """Brings an active job up to now, or to the second in which it was over, and stops it then."""
    until: uint256 = block.timestamp
    reason: uint256 = 0
    if self._exit_at(job_id) <= until:
        until = self._exit_at(job_id)
        reason = PROVIDER_EXIT
    due: escrow.Due = escrow.Due(
        provider=self._records[job_id].provider,
        earned=0,
        user=self._records[job_id].user,
        refund=0,
    )
    if self._records[job_id].startedAt != 0:
        earned: uint256 = self._accrued(job_id, until)
        if earned >= self._records[job_id].escrow:
            earned = self._records[job_id].escrow
            until = self._dry_second(job_id)
            reason = ESCROW_EXHAUSTED
        self._book_earned(job_id, earned, until)
        due.earned = earned
    if reason != 0:
        due.refund = self._stop(job_id, until, reason)
    return due


@internal
@view
def _accrued(job_id: uint256, until: uint256) -> uint256:
    """Owed by then and not paid yet, over the whole assignment so that nothing is lost."""
    span: uint256 = until - self._records[job_id].startedAt
    return escrow._owed(self._records[job_id].price, span) - self._records[job_id].paid


@internal
@view
def _dry_second(job_id: uint256) -> uint256:
    """The first second that owes the whole escrow; ask only when it has come."""
    amount: uint256 = self._records[job_id].escrow + self._records[job_id].paid
    span: uint256 = escrow._seconds_for(amount, self._records[job_id].price)
    return self._records[job_id].startedAt + span


@internal
def _book_earned(job_id: uint256, earned: uint256, until: uint256):
    self._records[job_id].settledUntil = until
    if earned == 0:
        return
    self._records[job_id].paid += earned
    self._records[job_id].escrow -= earned
    log JobSettled(jobId=job_id, provider=self._records[job_id].provider, amount=earned)


@internal
def _stop(job_id: uint256, at: uint256, reason: uint256) -> uint256:
    """Ends a job whose stake is still locked; returns what the user gets back."""
    stake._unlock(self._records[job_id].provider)
    return self._end(job_id, at, reason)


@internal
def _end(job_id: uint256, at: uint256, reason: uint256) -> uint256:
    """Ends a job; returns what the user gets back."""
    self._leave(job_id)
    rest: uint256 = self._records[job_id].escrow
    self._records[job_id].escrow = 0
    self._records[job_id].stoppedAt = at
    self._records[job_id].stopReason = reason
    log JobStopped(jobId=job_id, provider=self._records[job_id].provider, reason=reason)
    return rest


@internal
def _assign(job_id: uint256) -> bool:
    """Matches a job that has no provider now; False when nobody is left."""
    head: uint256 = self._records[job_id].head
    won: offers.Offer = offers._match(head, self._records[job_id].maxPrice, job_id)
    if won.price == 0:
        return False
    self._records[job_id].provider = won.provider
    self._records[job_id].price = won.price
    self._records[job_id].generation += 1
    self._records[job_id].assignedAt = block.timestamp
    self._enter(job_id, won.provider)
    log JobAssigned(
        jobId=job_id,
        provider=won.provider,
        generation=self._records[job_id].generation,
        price=won.price,
        assignedAt=block.timestamp,
    )
    return True


@internal
def _reassign(job_id: uint256) -> uint256:
    """Matches anew after a slash, or ends the job; returns what the user gets back."""
    offers._barred[job_id][self._records[job_id].provider] = True
    slashed: address = self._records[job_id].provider
    place: uint256 = self._records[job_id].place
    if self._records[job_id].generation == offers.MAX_ASSIGNMENTS or not self._assign(job_id):
        return self._end(job_id, block.timestamp, NO_PROVIDER)
    self._vacate(slashed, place)
    self._records[job_id].startedAt = 0
    self._records[job_id].settledUntil = 0
    self._records[job_id].exitRequestedAt = 0
    self._records[job_id].paid = 0
    self._endpoints[job_id] = ""
    return 0


@internal
def _enter(job_id: uint256, provider: address):
    place: uint256 = self._active_count[provider]
    self._active[provider][place] = job_id
    self._records[job_id].place = place
    self._active_count[provider] = place + 1


@internal
def _leave(job_id: uint256):
    self._vacate(self._records[job_id].provider, self._records[job_id].place)


@internal
def _vacate(provider: address, place: uint256):
    """Takes a job from a provider's active ones; the last takes its place."""
    last: uint256 = self._active_count[provider] - 1
    moved: uint256 = self._active[provider][last]
    self._active[provider][last] = 0
    self._active_count[provider] = last
    if place != last:
        self._active[provider][place] = moved
        self._records[moved].place = place
