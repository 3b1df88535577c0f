# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Test token
@license Apache-2.0
@notice An ERC-20 that anyone may mint: POND and the payment token of devnets and tests.
"""

from ethereum.ercs import IERC20

implements: IERC20

name: public(String[64])
symbol: public(String[16])
decimals: public(uint8)
totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])


@deploy
def __init__(name: String[64], symbol: String[16], decimals: uint8):
    """
    @notice A token without supply.
    @param name Its name.
    @param symbol Its symbol.
    @param decimals How many decimals are shown.
    """
    self.name = name
    self.symbol = symbol
    self.decimals = decimals


@external
def mint(receiver: address, amount: uint256):
    """
    @notice Makes tokens out of nothing. Anyone may.
    @param receiver Who gets them.
    @param amount Base units.
    """
    self.totalSupply += amount
    self.balanceOf[receiver] += amount
    log IERC20.Transfer(sender=empty(address), receiver=receiver, value=amount)


@external
def transfer(receiver: address, amount: uint256) -> bool:
    """
    @notice Moves the caller's tokens.
    @param receiver Who gets them.
    @param amount Base units.
    @return True.
    """
    self._move(msg.sender, receiver, amount)
    return True


@external
def transferFrom(sender: address, receiver: address, amount: uint256) -> bool:
    """
    @notice Moves tokens that their owner let the caller move.
    @param sender Whose tokens.
    @param receiver Who gets them.
    @param amount Base units.
    @return True.
    """
    allowed: uint256 = self.allowance[sender][msg.sender]
    assert allowed >= amount, "allowance too low"
    if allowed < max_value(uint256):
        self.allowance[sender][msg.sender] = allowed - amount
    self._move(sender, receiver, amount)
    return True


@external
def approve(spender: address, amount: uint256) -> bool:
    """
    @notice Lets another account move the caller's tokens.
    @param spender Who may.
    @param amount Base units in all; the highest number means without end.
    @return True.
    """
    self.allowance[msg.sender][spender] = amount
    log IERC20.Approval(owner=msg.sender, spender=spender, value=amount)
    return True


@internal
def _move(sender: address, receiver: address, amount: uint256):
    assert receiver != empty(address), "ERC20: transfer to the zero address"
    assert self.balanceOf[sender] >= amount, "balance too low"
    self.balanceOf[sender] -= amount
    self.balanceOf[receiver] += amount
    log IERC20.Transfer(sender=sender, receiver=receiver, value=amount)
