# pragma version 0.4.3
"""
@title Jobs
@license Apache-2.0
@notice The life of a job: requested and matched, started, settled, topped up, stopped.
@dev Every entry point first brings the job up to now (`_settle`); tokens move last.
"""

import book
import escrow
import offers
import parameters
import stake
import texts

uses: book
uses: escrow
uses: offers
uses: parameters
uses: stake

event JobRequested:
    jobId: indexed(uint256)
    user: indexed(address)
    instanceType: String[64]
    maxPrice: uint256
    enclaveUrl: String[512]
    deposit: uint256

event JobAssigned:
    jobId: indexed(uint256)
    provider: indexed(address)
    generation: uint256
    price: uint256
    assignedAt: uint256

event JobStarted:
    jobId: indexed(uint256)
    provider: indexed(address)
    endpoint: String[128]

event FundsAdded:
    jobId: indexed(uint256)
    funder: indexed(address)
    amount: uint256

event JobSettled:
    jobId: indexed(uint256)
    provider: indexed(address)
    amount: uint256

event ExitRequested:
    jobId: indexed(uint256)
    provider: indexed(address)
    exitAt: uint256

event JobStopped:
    jobId: indexed(uint256)
    provider: indexed(address)
    reason: uint256

# A job as `job` answers it.
struct Job:
    user: address
    provider: address
    instanceType: String[64]
    maxPrice: uint256
    price: uint256
    enclaveUrl: String[512]
    generation: uint256
    status: uint256
    stopReason: uint256
    assignedAt: uint256
    startedAt: uint256
    exitRequestedAt: uint256
    stoppedAt: uint256
    escrow: uint256
    settledUntil: uint256
    endpoint: String[128]

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

BOOTSTRAPPING: constant(uint256) = 1
RUNNING: constant(uint256) = 2
EXITING: constant(uint256) = 3
STOPPED: constant(uint256) = 4

USER_REQUEST: constant(uint256) = 1
ESCROW_EXHAUSTED: constant(uint256) = 2
PROVIDER_EXIT: constant(uint256) = 3
NO_PROVIDER: constant(uint256) = 4

PAGE: constant(uint256) = 50

_count: uint256
_records: HashMap[uint256, Record]
_urls: HashMap[uint256, String[512]]
_endpoints: HashMap[uint256, String[128]]
_active_count: HashMap[address, uint256]
_active: HashMap[address, HashMap[uint256, uint256]]


@external
@nonreentrant
def requestJob(
    instanceType: String[texts.LIMIT],
    maxPrice: uint256,
    enclaveUrl: String[texts.LIMIT],
    deposit: uint256,
) -> uint256:
    """
    @notice Opens a job with the cheapest provider that can take it, or reverts.
    @param instanceType What to run on, 1 to 64 bytes.
    @param maxPrice The highest price to pay, inclusive: base units a second times 10**12.
    @param enclaveUrl Where the enclave image is, 1 to 512 bytes.
    @param deposit Payment-token base units for this job's escrow, not 0; approved before.
    @return The job's id.
    """
    name: String[64] = texts._instance_type(instanceType)
    url: String[512] = texts._enclave_url(enclaveUrl)
    assert deposit > 0, "deposit is 0"
    job_id: uint256 = self._count + 1
    self._count = job_id
    self._records[job_id].user = msg.sender
    self._records[job_id].head = book._head(name)
    self._records[job_id].maxPrice = maxPrice
    self._records[job_id].escrow = deposit
    self._urls[job_id] = url
    log JobRequested(
        jobId=job_id,
        user=msg.sender,
        instanceType=name,
        maxPrice=maxPrice,
        enclaveUrl=url,
        deposit=deposit,
    )
    assert self._assign(job_id), "no provider"
    escrow._take(msg.sender, deposit)
    return job_id


@external
@nonreentrant
def addFunds(jobId: uint256, amount: uint256):
    """
    @notice Adds to the escrow of a job that is not over. Anyone may.
    @param jobId The job.
    @param amount Payment-token base units, not 0; approved before.
    """
    assert amount > 0, "amount is 0"
    due: escrow.Due = self._settle_alive(jobId)
    assert amount <= max_value(uint256) - self._records[jobId].escrow, "amount too high"
    self._records[jobId].escrow += amount
    log FundsAdded(jobId=jobId, funder=msg.sender, amount=amount)
    escrow._pay(due)
    escrow._take(msg.sender, amount)


@external
@nonreentrant
def reportStarted(jobId: uint256, endpoint: String[texts.LIMIT]):
    """
    @notice The assigned provider says that the enclave runs; it earns from now on.
    @param jobId The job.
    @param endpoint Where the enclave answers, 1 to 128 bytes.
    """
    place: String[128] = texts._endpoint(endpoint)
    due: escrow.Due = self._settle_alive(jobId)
    assert msg.sender == self._records[jobId].provider, "not the provider"
    assert self._records[jobId].startedAt == 0, "already started"
    deadline: uint256 = self._records[jobId].assignedAt + parameters.JOB_BOOTSTRAPPING
    assert block.timestamp < deadline, "bootstrapping is over"
    self._records[jobId].startedAt = block.timestamp
    self._records[jobId].settledUntil = block.timestamp
    self._endpoints[jobId] = place
    log JobStarted(jobId=jobId, provider=msg.sender, endpoint=place)


@external
@nonreentrant
def requestToStopJob(jobId: uint256):
    """
    @notice The user ends the job; what has accrued is paid, the rest comes back.
    @dev If the job was over before, that is recorded instead.
    @param jobId The job.
    """
    self._check_active(jobId)
    assert msg.sender == self._records[jobId].user, "not the user"
    due: escrow.Due = self._settle(jobId)
    if not self._is_stopped(jobId):
        due.refund = self._stop(jobId, block.timestamp, USER_REQUEST)
    escrow._pay(due)


@external
@nonreentrant
def requestToExitJob(jobId: uint256):
    """
    @notice The assigned provider gives notice; it serves for JobExitCoolDown seconds more.
    @param jobId The job.
    """
    due: escrow.Due = self._settle_alive(jobId)
    assert msg.sender == self._records[jobId].provider, "not the provider"
    assert self._records[jobId].exitRequestedAt == 0, "exit already requested"
    self._records[jobId].exitRequestedAt = block.timestamp
    log ExitRequested(jobId=jobId, provider=msg.sender, exitAt=self._exit_at(jobId))
    escrow._pay(due)


@external
@nonreentrant
def finalizeExit(jobId: uint256):
    """
    @notice Records that a job is over, its provider's notice having passed. Anyone may.
    @dev Does nothing on a job already stopped.
    @param jobId The job.
    """
    self._check_exists(jobId)
    if self._is_stopped(jobId):
        return
    due: escrow.Due = self._settle(jobId)
    assert self._is_stopped(jobId), "cool-down not over"
    escrow._pay(due)


@external
@nonreentrant
def settle(jobId: uint256):
    """
    @notice Pays the provider what has accrued, and stops the job if it is over. Anyone may.
    @dev Does nothing on a job already stopped.
    @param jobId The job.
    """
    self._check_exists(jobId)
    if self._is_stopped(jobId):
        return
    escrow._pay(self._settle(jobId))


@external
@view
def job(jobId: uint256) -> Job:
    """
    @notice A job as stored: one that is over but not yet settled shows as active.
    @param jobId The job.
    @return Its fields; status 1 Bootstrapping, 2 Running, 3 Exiting, 4 Stopped; stopReason 0 none,
            1 UserRequest, 2 EscrowExhausted, 3 ProviderExit, 4 NoProvider.
    """
    self._check_exists(jobId)
    r: Record = self._records[jobId]
    return Job(
        user=r.user,
        provider=r.provider,
        instanceType=book._names[r.head],
        maxPrice=r.maxPrice,
        price=r.price,
        enclaveUrl=self._urls[jobId],
        generation=r.generation,
        status=self._status(r),
        stopReason=r.stopReason,
        assignedAt=r.assignedAt,
        startedAt=r.startedAt,
        exitRequestedAt=r.exitRequestedAt,
        stoppedAt=r.stoppedAt,
        escrow=r.escrow,
        settledUntil=r.settledUntil,
        endpoint=self._endpoints[jobId],
    )


@external
@view
def jobCount() -> uint256:
    """
    @notice How many jobs there were ever; ids are 1 to this.
    @return The count.
    """
    return self._count


@external
@view
def jobsOf(provider: address, start: uint256, count: uint256) -> DynArray[uint256, PAGE]:
    """
    @notice Active jobs of a provider, in no order.
    @param provider Whose.
    @param start How many to leave out; past the end the answer is empty.
    @param count How many to answer, at most 50.
    @return Job ids.
    """
    page: DynArray[uint256, PAGE] = []
    total: uint256 = self._active_count[provider]
    if start < total:
        for i: uint256 in range(min(min(count, PAGE), total - start), bound=PAGE):
            page.append(self._active[provider][start + i])
    return page


@internal
@pure
def _status(r: Record) -> uint256:
    if r.stopReason != 0:
        return STOPPED
    if r.exitRequestedAt != 0:
        return EXITING
    return RUNNING if r.startedAt != 0 else BOOTSTRAPPING


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
