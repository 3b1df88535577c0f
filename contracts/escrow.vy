# pragma version 0.4.3
"""
@title Escrow
@license Apache-2.0
@notice The arithmetic of what a job owes, and the token it is paid in.
"""

import tokens

# Prices are payment-token base units a second times this.
SCALE: constant(uint256) = 10**12

TOKEN: immutable(address)

# What leaves the contract at the end of a transaction.
struct Due:
    provider: address
    earned: uint256
    user: address
    refund: uint256


@deploy
def __init__(token: address):
    assert token.is_contract, "paymentToken is no contract"
    TOKEN = token


@external
@view
def paymentToken() -> address:
    """
    @notice The token that jobs are paid in.
    @return Its address.
    """
    return TOKEN


@internal
@pure
def _owed(price: uint256, seconds: uint256) -> uint256:
    """Price below 2**128 and time below 2**65: no overflow."""
    return price * seconds // SCALE


@internal
@pure
def _seconds_for(amount: uint256, price: uint256) -> uint256:
    """The first second that owes all of an amount that is owed already: no overflow."""
    return (amount * SCALE + price - 1) // price


@internal
def _take(payer: address, amount: uint256):
    tokens._pull(TOKEN, payer, amount)


@internal
def _pay(due: Due):
    tokens._push(TOKEN, due.provider, due.earned)
    tokens._push(TOKEN, due.user, due.refund)
