# pragma version 0.4.3
"""
@title Parameters
@license Apache-2.0
@notice The five numbers of the market, set once when the contract is deployed.
"""

struct Params:
    stakePerJob: uint256
    jobBootstrapping: uint256
    jobStartup: uint256
    jobExitCoolDown: uint256
    quorum: uint256

# No span of time is longer, so that adding one to a timestamp cannot overflow.
MAX_SECONDS: constant(uint256) = 2**64

STAKE_PER_JOB: immutable(uint256)
JOB_BOOTSTRAPPING: immutable(uint256)
JOB_STARTUP: immutable(uint256)
JOB_EXIT_COOL_DOWN: immutable(uint256)
QUORUM: immutable(uint256)


@deploy
def __init__(terms: Params):
    assert terms.stakePerJob > 0, "stakePerJob is 0"
    assert terms.jobBootstrapping > 0, "jobBootstrapping is 0"
    assert terms.jobStartup >= terms.jobBootstrapping, "startup before bootstrapping"
    assert terms.jobStartup < MAX_SECONDS, "jobStartup too long"
    assert terms.jobExitCoolDown < MAX_SECONDS, "cool-down too long"
    assert terms.quorum > 0, "quorum is 0"
    STAKE_PER_JOB = terms.stakePerJob
    JOB_BOOTSTRAPPING = terms.jobBootstrapping
    JOB_STARTUP = terms.jobStartup
    JOB_EXIT_COOL_DOWN = terms.jobExitCoolDown
    QUORUM = terms.quorum


@external
@view
def params() -> Params:
    """
    @notice The parameters of this market.
    @return POND base units locked per job; seconds to bring an instance up; seconds after which
            a started job may be reported; seconds of notice for an exit; auditors that slash.
    """
    return Params(
        stakePerJob=STAKE_PER_JOB,
        jobBootstrapping=JOB_BOOTSTRAPPING,
        jobStartup=JOB_STARTUP,
        jobExitCoolDown=JOB_EXIT_COOL_DOWN,
        quorum=QUORUM,
    )
