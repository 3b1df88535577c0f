# pragma version 0.4.3
"""
@title Auditing
@license Apache-2.0
@notice Auditors report assignments that do not answer; at quorum the provider is slashed.
"""

import escrow
import ledger
import parameters
import stake

uses: escrow
uses: ledger
uses: parameters
uses: stake

event FaultReported:
    jobId: indexed(uint256)
    auditor: indexed(address)
    generation: uint256

event JobSlashed:
    jobId: indexed(uint256)
    provider: indexed(address)
    amount: uint256

MAX_AUDITORS: constant(uint256) = 64

_auditors: HashMap[address, bool]
_votes: HashMap[uint256, HashMap[uint256, uint256]]
_voted: HashMap[uint256, HashMap[uint256, HashMap[address, bool]]]


@deploy
def __init__(auditors: DynArray[address, MAX_AUDITORS]):
    distinct: uint256 = 0
    for auditor: address in auditors:
        if not self._auditors[auditor]:
            self._auditors[auditor] = True
            distinct += 1
    assert parameters.QUORUM <= distinct, "quorum above auditors"


@external
@view
def isAuditor(account: address) -> bool:
    """
    @notice Whether an account may report faults.
    @param account Whose right.
    @return True if it may.
    """
    return self._auditors[account]


@external
@nonreentrant
def reportFault(jobId: uint256, generation: uint256):
    """
    @notice An auditor's vote that an assignment does not answer; the quorum's last vote slashes it
            and the job is matched anew.
    @param jobId The job.
    @param generation The assignment that the vote is about: the job's current one.
    """
    assert self._auditors[msg.sender], "not an auditor"
    due: escrow.Due = ledger._settle_alive(jobId)
    assert generation == ledger._records[jobId].generation, "not the current generation"
    assert block.timestamp >= self._reportable_at(jobId), "too early to report"
    assert not self._voted[jobId][generation][msg.sender], "already reported"
    self._voted[jobId][generation][msg.sender] = True
    votes: uint256 = self._votes[jobId][generation] + 1
    self._votes[jobId][generation] = votes
    log FaultReported(jobId=jobId, auditor=msg.sender, generation=generation)
    slashed: bool = votes >= parameters.QUORUM
    if slashed:
        due.refund = self._slash(jobId)
    escrow._pay(due)
    if slashed:
        stake._burn()


@internal
@view
def _reportable_at(job_id: uint256) -> uint256:
    assigned: uint256 = ledger._records[job_id].assignedAt
    if ledger._records[job_id].startedAt == 0:
        return assigned + parameters.JOB_BOOTSTRAPPING
    return assigned + parameters.JOB_STARTUP


@internal
def _slash(job_id: uint256) -> uint256:
    provider: address = ledger._records[job_id].provider
    stake._forfeit(provider)
    log JobSlashed(jobId=job_id, provider=provider, amount=parameters.STAKE_PER_JOB)
    return ledger._reassign(job_id)
