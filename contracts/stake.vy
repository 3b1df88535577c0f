# pragma version 0.4.3
"""
@title Stake
@license Apache-2.0
@notice POND of providers: a total each, of which StakePerJob is locked for every active job.
"""

import book
import parameters
import tokens

uses: book
uses: parameters

event Staked:
    provider: indexed(address)
    amount: uint256

event Unstaked:
    provider: indexed(address)
    amount: uint256

# Where slashed POND goes.
DEAD: constant(address) = 0x000000000000000000000000000000000000dEaD

POND: immutable(address)
_total: HashMap[address, uint256]
_locked: HashMap[address, uint256]


@deploy
def __init__(token: address):
    assert token.is_contract, "pond is no contract"
    POND = token


@external
@nonreentrant
def stake(amount: uint256):
    """
    @notice Adds POND to the caller's stake; the caller approved it before.
    @param amount POND base units, not 0.
    """
    assert amount > 0, "amount is 0"
    assert amount <= max_value(uint256) - self._total[msg.sender], "amount too high"
    self._change(msg.sender, self._total[msg.sender] + amount, self._locked[msg.sender])
    log Staked(provider=msg.sender, amount=amount)
    tokens._pull(POND, msg.sender, amount)


@external
@nonreentrant
def unstake(amount: uint256):
    """
    @notice Withdraws POND that no active job locks. Listings stay, skipped while stake is short.
    @param amount POND base units, not 0, at most total - locked.
    """
    assert amount > 0, "amount is 0"
    assert amount <= self._free(msg.sender), "stake is locked"
    self._change(msg.sender, self._total[msg.sender] - amount, self._locked[msg.sender])
    log Unstaked(provider=msg.sender, amount=amount)
    tokens._push(POND, msg.sender, amount)


@external
@view
def stakeOf(provider: address) -> uint256:
    """
    @notice Total stake, locked or not.
    @param provider Whose.
    @return POND base units.
    """
    return self._total[provider]


@external
@view
def lockedStakeOf(provider: address) -> uint256:
    """
    @notice Stake locked for active jobs.
    @param provider Whose.
    @return POND base units.
    """
    return self._locked[provider]


@external
@view
def pond() -> address:
    """
    @notice The token that is staked.
    @return Its address.
    """
    return POND


@internal
@view
def _free(provider: address) -> uint256:
    return self._total[provider] - self._locked[provider]


@internal
@view
def _can_take_job(provider: address) -> bool:
    return self._free(provider) >= parameters.STAKE_PER_JOB


@internal
def _change(provider: address, total: uint256, locked: uint256):
    """The only place where stake changes: listings open and close with it."""
    before: bool = self._can_take_job(provider)
    self._total[provider] = total
    self._locked[provider] = locked
    after: bool = self._can_take_job(provider)
    if before != after:
        book._set_open(provider, after)


@internal
def _lock(provider: address):
    locked: uint256 = self._locked[provider]
    self._change(provider, self._total[provider], locked + parameters.STAKE_PER_JOB)


@internal
def _unlock(provider: address):
    locked: uint256 = self._locked[provider]
    self._change(provider, self._total[provider], locked - parameters.STAKE_PER_JOB)


@internal
def _forfeit(provider: address):
    """Takes the stake locked for one job from the books; `_burn` sends it away."""
    lost: uint256 = parameters.STAKE_PER_JOB
    self._change(provider, self._total[provider] - lost, self._locked[provider] - lost)


@internal
def _burn():
    tokens._push(POND, DEAD, parameters.STAKE_PER_JOB)
