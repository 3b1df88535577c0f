# pragma version 0.4.3
"""
@title Tokens
@license Apache-2.0
@notice Moves ERC-20 tokens in and out; a token that answers False has failed.
@dev Tokens that answer nothing are taken at their word that they revert when they fail.
"""

from ethereum.ercs import IERC20


@internal
def _pull(token: address, giver: address, amount: uint256):
    done: bool = extcall IERC20(token).transferFrom(giver, self, amount, default_return_value=True)
    assert done, "token refused"


@internal
def _push(token: address, taker: address, amount: uint256):
    if amount == 0:
        return
    done: bool = extcall IERC20(token).transfer(taker, amount, default_return_value=True)
    assert done, "token refused"
