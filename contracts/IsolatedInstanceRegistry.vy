# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
"""
@title Isolated instance registry
@license Apache-2.0
@notice The market of Oyster isolated instances: providers stake POND and list instance types,
        users fund jobs, auditors report those that do not answer.
@dev Each module holds one idea; this file only puts them together.
"""

import auditing
import book
import escrow
import jobs
import ledger
import offers as listing
import parameters
import stake as staking

initializes: parameters
initializes: book
initializes: escrow
initializes: staking[book := book, parameters := parameters]
initializes: listing[book := book, parameters := parameters, stake := staking]
initializes: ledger[offers := listing, parameters := parameters, stake := staking]
initializes: jobs[book := book, escrow := escrow, ledger := ledger, parameters := parameters]
initializes: auditing[
    escrow := escrow, ledger := ledger, parameters := parameters, stake := staking
]

exports: (
    parameters.params,
    escrow.paymentToken,
    staking.stake,
    staking.unstake,
    staking.stakeOf,
    staking.lockedStakeOf,
    staking.pond,
    listing.register,
    listing.deregister,
    listing.offer,
    listing.offers,
    jobs.requestJob,
    jobs.addFunds,
    jobs.requestToStopJob,
    jobs.reportStarted,
    jobs.requestToExitJob,
    jobs.finalizeExit,
    jobs.settle,
    jobs.job,
    jobs.jobCount,
    jobs.jobsOf,
    auditing.reportFault,
    auditing.isAuditor,
)


@deploy
def __init__(
    pond: address,
    paymentToken: address,
    params: parameters.Params,
    auditors: DynArray[address, auditing.MAX_AUDITORS],
):
    """
    @notice Opens a market whose parameters and auditors never change.
    @param pond The token that is staked.
    @param paymentToken The token that jobs are paid in; not the same one.
    @param params The parameters of the protocol.
    @param auditors Who may report faults, at most 64; quorum of them at least.
    """
    assert pond != paymentToken, "one token for both"
    parameters.__init__(params)
    escrow.__init__(paymentToken)
    staking.__init__(pond)
    auditing.__init__(auditors)
