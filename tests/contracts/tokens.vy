# pragma version 0.4.3
# pragma evm-version cancun
"""A token that misbehaves as it is told: answers nothing, answers False, or calls back."""

interface Market:
    def settle(job_id: uint256): nonpayable
    def stake(amount: uint256): nonpayable

mode: public(uint256)  # 0 answers True, 1 False, 2 nothing, 3 calls back


@external
def misbehave(mode: uint256):
    self.mode = mode


@external
@raw_return
def transfer(receiver: address, amount: uint256) -> Bytes[32]:
    return self._answer()


@external
@raw_return
def transferFrom(sender: address, receiver: address, amount: uint256) -> Bytes[32]:
    return self._answer()


@internal
def _answer() -> Bytes[32]:
    if self.mode == 3:
        extcall Market(msg.sender).settle(1)
    if self.mode == 4:
        extcall Market(msg.sender).stake(1)
    if self.mode == 2:
        return b""
    return abi_encode(self.mode != 1)
