# pragma version 0.4.3
"""
@title Locks
@license Apache-2.0
@notice Announced changes: a value is named now and holds after a waiting time that is its kind's.
@dev What breaks the rules of a lock reverts without a word, as in Marlin's market.
"""

event LockCreated:
    selector: indexed(bytes32)
    key: indexed(bytes32)
    iValue: uint256
    unlockTime: uint256

event LockDeleted:
    selector: indexed(bytes32)
    key: indexed(bytes32)
    iValue: uint256

struct Lock:
    unlockTime: uint256
    iValue: uint256

lockWaitTime: public(HashMap[bytes32, uint256])
_locks: HashMap[bytes32, Lock]


@external
@view
def locks(lockId: bytes32) -> (uint256, uint256):
    """
    @notice A lock that was made and not yet deleted.
    @param lockId The keccak of selector and key, one after the other.
    @return The second from which it opens, and the value it announces; both 0: there is none.
    """
    found: Lock = self._locks[lockId]
    return found.unlockTime, found.iValue


@internal
@pure
def _id(selector: bytes32, key: bytes32) -> bytes32:
    return keccak256(concat(selector, key))


@internal
@view
def _exists(selector: bytes32, key: bytes32) -> bool:
    return self._locks[self._id(selector, key)].unlockTime != 0


@internal
def _create(selector: bytes32, key: bytes32, announced: uint256):
    assert not self._exists(selector, key)
    unlock_time: uint256 = block.timestamp + self.lockWaitTime[selector]
    self._locks[self._id(selector, key)] = Lock(unlockTime=unlock_time, iValue=announced)
    log LockCreated(selector=selector, key=key, iValue=announced, unlockTime=unlock_time)


@internal
def _open(selector: bytes32, key: bytes32) -> uint256:
    """Deletes a lock that has waited its time; the value that it announced."""
    unlock_time: uint256 = self._locks[self._id(selector, key)].unlockTime
    assert unlock_time != 0 and unlock_time <= block.timestamp
    return self._delete(selector, key)


@internal
def _delete(selector: bytes32, key: bytes32) -> uint256:
    """Deletes whatever stands there, and says so even of nothing."""
    lock_id: bytes32 = self._id(selector, key)
    announced: uint256 = self._locks[lock_id].iValue
    self._locks[lock_id] = empty(Lock)
    log LockDeleted(selector=selector, key=key, iValue=announced)
    return announced
