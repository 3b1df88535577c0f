# pragma version 0.4.3
"""
@title Jobs
@license Apache-2.0
@notice What users and providers do about a job: request, start, fund, settle, exit, stop.
@dev Every entry point first brings the job up to now (`ledger._settle`); tokens move last.
"""

import book
import escrow
import ledger
import parameters
import texts

uses: book
uses: escrow
uses: ledger
uses: parameters

event JobRequested:
    jobId: indexed(uint256)
    user: indexed(address)
    instanceType: String[64]
    maxPrice: uint256
    enclaveUrl: String[512]
    deposit: uint256

event JobStarted:
    jobId: indexed(uint256)
    provider: indexed(address)
    endpoint: String[128]

event FundsAdded:
    jobId: indexed(uint256)
    funder: indexed(address)
    amount: uint256

event ExitRequested:
    jobId: indexed(uint256)
    provider: indexed(address)
    exitAt: uint256

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

BOOTSTRAPPING: constant(uint256) = 1
RUNNING: constant(uint256) = 2
EXITING: constant(uint256) = 3
STOPPED: constant(uint256) = 4

PAGE: constant(uint256) = 50


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
    job_id: uint256 = ledger._count + 1
    ledger._count = job_id
    ledger._records[job_id].user = msg.sender
    ledger._records[job_id].head = book._head(name)
    ledger._records[job_id].maxPrice = maxPrice
    ledger._records[job_id].escrow = deposit
    ledger._urls[job_id] = url
    log JobRequested(
        jobId=job_id,
        user=msg.sender,
        instanceType=name,
        maxPrice=maxPrice,
        enclaveUrl=url,
        deposit=deposit,
    )
    assert ledger._assign(job_id), "no provider"
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
    due: escrow.Due = ledger._settle_alive(jobId)
    assert amount <= max_value(uint256) - ledger._records[jobId].escrow, "amount too high"
    ledger._records[jobId].escrow += amount
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
    due: escrow.Due = ledger._settle_alive(jobId)
    assert msg.sender == ledger._records[jobId].provider, "not the provider"
    assert ledger._records[jobId].startedAt == 0, "already started"
    deadline: uint256 = ledger._records[jobId].assignedAt + parameters.JOB_BOOTSTRAPPING
    assert block.timestamp < deadline, "bootstrapping is over"
    ledger._records[jobId].startedAt = block.timestamp
    ledger._records[jobId].settledUntil = block.timestamp
    ledger._endpoints[jobId] = place
    log JobStarted(jobId=jobId, provider=msg.sender, endpoint=place)


@external
@nonreentrant
def requestToStopJob(jobId: uint256):
    """
    @notice The user ends the job; what has accrued is paid, the rest comes back.
    @dev If the job was over before, that is recorded instead.
    @param jobId The job.
    """
    ledger._check_active(jobId)
    assert msg.sender == ledger._records[jobId].user, "not the user"
    due: escrow.Due = ledger._settle(jobId)
    if not ledger._is_stopped(jobId):
        due.refund = ledger._stop(jobId, block.timestamp, ledger.USER_REQUEST)
    escrow._pay(due)


@external
@nonreentrant
def requestToExitJob(jobId: uint256):
    """
    @notice The assigned provider gives notice; it serves for JobExitCoolDown seconds more.
    @param jobId The job.
    """
    due: escrow.Due = ledger._settle_alive(jobId)
    assert msg.sender == ledger._records[jobId].provider, "not the provider"
    assert ledger._records[jobId].exitRequestedAt == 0, "exit already requested"
    ledger._records[jobId].exitRequestedAt = block.timestamp
    log ExitRequested(jobId=jobId, provider=msg.sender, exitAt=ledger._exit_at(jobId))
    escrow._pay(due)


@external
@nonreentrant
def finalizeExit(jobId: uint256):
    """
    @notice Records that a job is over, its provider's notice having passed. Anyone may.
    @dev Does nothing on a job already stopped.
    @param jobId The job.
    """
    ledger._check_exists(jobId)
    if ledger._is_stopped(jobId):
        return
    due: escrow.Due = ledger._settle(jobId)
    assert ledger._is_stopped(jobId), "cool-down not over"
    escrow._pay(due)


@external
@nonreentrant
def settle(jobId: uint256):
    """
    @notice Pays the provider what has accrued, and stops the job if it is over. Anyone may.
    @dev Does nothing on a job already stopped.
    @param jobId The job.
    """
    ledger._check_exists(jobId)
    if ledger._is_stopped(jobId):
        return
    escrow._pay(ledger._settle(jobId))


@external
@view
def job(jobId: uint256) -> Job:
    """
    @notice A job as stored: one that is over but not yet settled shows as active.
    @param jobId The job.
    @return Its fields; status 1 Bootstrapping, 2 Running, 3 Exiting, 4 Stopped; stopReason 0 none,
            1 UserRequest, 2 EscrowExhausted, 3 ProviderExit, 4 NoProvider.
    """
    ledger._check_exists(jobId)
    r: ledger.Record = ledger._records[jobId]
    return Job(
        user=r.user,
        provider=r.provider,
        instanceType=book._names[r.head],
        maxPrice=r.maxPrice,
        price=r.price,
        enclaveUrl=ledger._urls[jobId],
        generation=r.generation,
        status=self._status(r),
        stopReason=r.stopReason,
        assignedAt=r.assignedAt,
        startedAt=r.startedAt,
        exitRequestedAt=r.exitRequestedAt,
        stoppedAt=r.stoppedAt,
        escrow=r.escrow,
        settledUntil=r.settledUntil,
        endpoint=ledger._endpoints[jobId],
    )


@external
@view
def jobCount() -> uint256:
    """
    @notice How many jobs there were ever; ids are 1 to this.
    @return The count.
    """
    return ledger._count


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
    total: uint256 = ledger._active_count[provider]
    if start < total:
        for i: uint256 in range(min(min(count, PAGE), total - start), bound=PAGE):
            page.append(ledger._active[provider][start + i])
    return page


@internal
@pure
def _status(r: ledger.Record) -> uint256:
    if r.stopReason != 0:
        return STOPPED
    if r.exitRequestedAt != 0:
        return EXITING
    return RUNNING if r.startedAt != 0 else BOOTSTRAPPING
