# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
"""
@title MarketV1
@license Apache-2.0
@notice A market with the interface and the behaviour of Marlin's MarketV1, for devnets and tests:
        jobs are opened at a named provider, paid by the second, and only their owner ends them.
@dev Written from what the deployed contract does. It is no proxy: `upgradeTo` changes no code and
     only says what a proxy would say.
"""

from ethereum.ercs import IERC20

import lock
import tokens

initializes: lock

exports: (lock.locks, lock.lockWaitTime)

event TokenUpdated:
    oldToken: indexed(address)
    newToken: indexed(address)

event Upgraded:
    implementation: indexed(address)

event ProviderAdded:
    provider: indexed(address)
    cp: String[MAX_URL]

event ProviderRemoved:
    provider: indexed(address)

event ProviderUpdatedWithCp:
    provider: indexed(address)
    newCp: String[MAX_URL]

event JobOpened:
    job: indexed(bytes32)
    metadata: String[MAX_METADATA]
    owner: indexed(address)
    provider: indexed(address)
    rate: uint256
    balance: uint256
    timestamp: uint256

event JobSettled:
    job: indexed(bytes32)
    amount: uint256
    timestamp: uint256

event JobClosed:
    job: indexed(bytes32)

event JobDeposited:
    job: indexed(bytes32)
    sender: indexed(address)
    amount: uint256

event JobWithdrew:
    job: indexed(bytes32)
    receiver: indexed(address)
    amount: uint256

event JobReviseRateInitiated:
    job: indexed(bytes32)
    newRate: uint256

event JobReviseRateCancelled:
    job: indexed(bytes32)

event JobReviseRateFinalized:
    job: indexed(bytes32)
    newRate: uint256

event JobMetadataUpdated:
    job: indexed(bytes32)
    metadata: String[MAX_METADATA]

struct Job:
    metadata: String[MAX_METADATA]
    owner: address
    provider: address
    rate: uint256
    balance: uint256
    lastSettled: uint256

# The original has no bound. To store more bytes than this takes more gas than a block has: a slot
# of 32 bytes costs 22,100, so that 30 million end before 44,000 bytes.
MAX_METADATA: constant(uint256) = 49152
MAX_URL: constant(uint256) = 4096

# Rates are payment-token base units a second with so many more decimals.
EXTRA_DECIMALS: public(constant(uint256)) = 12
SCALE: constant(uint256) = 10**12

RATE_LOCK_SELECTOR: public(constant(bytes32)) = keccak256("RATE_LOCK")

ADMIN: immutable(address)

token: public(address)
jobIndex: public(uint256)
providers: public(HashMap[address, String[MAX_URL]])
_jobs: HashMap[bytes32, Job]


@deploy
def __init__(token: address, rateLockSeconds: uint256):
    """
    @notice Opens a market whose administrator is the deployer.
    @param token What jobs are paid in.
    @param rateLockSeconds How long a new rate is announced before it can hold.
    """
    ADMIN = msg.sender
    lock.lockWaitTime[RATE_LOCK_SELECTOR] = rateLockSeconds
    self._update_token(token)


# What the administrator may


@external
def updateToken(token: address):
    """
    @notice Pays in another token from now on; balances are taken to be in it.
    @param token The other one.
    """
    assert msg.sender == ADMIN, "only admin"
    self._update_token(token)


@external
def upgradeTo(newImplementation: address):
    """
    @notice Says what a proxy says when its code changes. Here the code stays.
    @param newImplementation The address that is said.
    """
    assert msg.sender == ADMIN, "only admin"
    log Upgraded(implementation=newImplementation)


# Providers


@external
def providerAdd(cp: String[MAX_URL]):
    """
    @notice Enters the caller as a provider.
    @param cp The URL under which it says what it offers.
    """
    assert len(self.providers[msg.sender]) == 0, "already exists"
    assert len(cp) != 0, "invalid"
    self.providers[msg.sender] = cp
    log ProviderAdded(provider=msg.sender, cp=cp)


@external
def providerUpdateWithCp(cp: String[MAX_URL]):
    """
    @notice Changes the caller's URL.
    @param cp The new one.
    """
    assert len(self.providers[msg.sender]) != 0, "not found"
    assert len(cp) != 0, "invalid"
    self.providers[msg.sender] = cp
    log ProviderUpdatedWithCp(provider=msg.sender, newCp=cp)


@external
def providerRemove():
    """
    @notice Takes the caller off the list of providers. Its jobs are as they were.
    """
    assert len(self.providers[msg.sender]) != 0, "not found"
    self.providers[msg.sender] = ""
    log ProviderRemoved(provider=msg.sender)


# Jobs: what anybody may


@external
@view
def jobs(job: bytes32) -> (String[MAX_METADATA], address, address, uint256, uint256, uint256):
    """
    @notice A job; all of it is empty when it was closed or never opened.
    @param job Its id.
    @return Metadata, owner, provider, rate, balance, the second up to which it is settled.
    """
    found: Job = self._jobs[job]
    return (
        found.metadata, found.owner, found.provider, found.rate, found.balance, found.lastSettled
    )


@external
def jobOpen(metadata: String[MAX_METADATA], provider: address, rate: uint256, balance: uint256):
    """
    @notice Opens a job of the caller. Nothing is checked, and it is paid for from this second on.
    @param metadata What is to run, as JSON; any text is taken.
    @param provider Who is to run it; need not be listed.
    @param rate Base units of the token a second, times 10**12.
    @param balance Base units that are paid in at once.
    """
    tokens._pull(self.token, msg.sender, balance)
    job: bytes32 = convert(self.jobIndex, bytes32)
    self.jobIndex += 1
    self._jobs[job].metadata = metadata
    self._jobs[job].owner = msg.sender
    self._jobs[job].provider = provider
    self._jobs[job].rate = rate
    self._jobs[job].balance = balance
    self._jobs[job].lastSettled = block.timestamp
    log JobOpened(
        job=job, metadata=metadata, owner=msg.sender, provider=provider, rate=rate,
        balance=balance, timestamp=block.timestamp,
    )


@external
def jobSettle(job: bytes32):
    """
    @notice Pays the provider what is owed up to now.
    @param job Its id.
    """
    self._settle(job)


@external
def jobDeposit(job: bytes32, amount: uint256):
    """
    @notice Adds to a job's balance, without settling first.
    @param job Its id.
    @param amount Base units.
    """
    assert self._jobs[job].owner != empty(address), "not found"
    tokens._pull(self.token, msg.sender, amount)
    self._jobs[job].balance += amount
    log JobDeposited(job=job, sender=msg.sender, amount=amount)


# Jobs: what only their owner may


@external
def jobClose(job: bytes32):
    """
    @notice Ends a job and pays back the rest: at once at rate 0, else after a notice of rate 0.
    @param job Its id.
    """
    self._only_owner(job)
    if self._jobs[job].rate != 0:
        assert lock._open(RATE_LOCK_SELECTOR, job) == 0, "rate should be zero"
    self._settle(job)
    if self._jobs[job].balance > 0:
        self._pay(self._jobs[job].owner, self._jobs[job].balance)
    self._jobs[job].metadata = ""
    self._jobs[job].owner = empty(address)
    self._jobs[job].provider = empty(address)
    self._jobs[job].rate = 0
    self._jobs[job].balance = 0
    self._jobs[job].lastSettled = 0
    lock._delete(RATE_LOCK_SELECTOR, job)
    log JobClosed(job=job)


@external
def jobWithdraw(job: bytes32, amount: uint256):
    """
    @notice Takes from a job's balance what is not needed for the time of a notice.
    @param job Its id.
    @param amount Base units.
    """
    self._only_owner(job)
    self._settle(job)
    left: uint256 = self._owed(self._jobs[job].rate, lock.lockWaitTime[RATE_LOCK_SELECTOR])
    balance: uint256 = self._jobs[job].balance
    assert balance >= left and amount <= balance - left, "not enough balance"
    self._jobs[job].balance = balance - amount
    self._pay(msg.sender, amount)
    log JobWithdrew(job=job, receiver=msg.sender, amount=amount)


@external
def jobMetadataUpdate(job: bytes32, metadata: String[MAX_METADATA]):
    """
    @notice Says anew what is to run.
    @param job Its id.
    @param metadata As for jobOpen.
    """
    self._only_owner(job)
    self._jobs[job].metadata = metadata
    log JobMetadataUpdated(job=job, metadata=metadata)


@external
def jobReviseRateInitiate(job: bytes32, newRate: uint256):
    """
    @notice Announces another rate; 0 announces the end.
    @param job Its id.
    @param newRate As for jobOpen.
    """
    self._only_owner(job)
    lock._create(RATE_LOCK_SELECTOR, job, newRate)
    log JobReviseRateInitiated(job=job, newRate=newRate)


@external
def jobReviseRateCancel(job: bytes32):
    """
    @notice Takes an announced rate back.
    @param job Its id.
    """
    self._only_owner(job)
    assert lock._exists(RATE_LOCK_SELECTOR, job), "no request"
    lock._delete(RATE_LOCK_SELECTOR, job)
    log JobReviseRateCancelled(job=job)


@external
def jobReviseRateFinalize(job: bytes32):
    """
    @notice Has the announced rate hold from now on; up to now the old one is paid.
    @param job Its id.
    """
    self._only_owner(job)
    rate: uint256 = lock._open(RATE_LOCK_SELECTOR, job)
    self._settle(job)
    self._jobs[job].rate = rate
    log JobReviseRateFinalized(job=job, newRate=rate)


# What the functions share


@internal
@view
def _only_owner(job: bytes32):
    assert self._jobs[job].owner == msg.sender, "only job owner"


@internal
@pure
def _owed(rate: uint256, seconds: uint256) -> uint256:
    """Rounded up, in the provider's favour; reverts where the product has no room."""
    return (rate * seconds + SCALE - 1) // SCALE


@internal
def _settle(job: bytes32):
    balance: uint256 = self._jobs[job].balance
    owed: uint256 = self._owed(self._jobs[job].rate, block.timestamp - self._jobs[job].lastSettled)
    amount: uint256 = min(owed, balance)
    self._pay(self._jobs[job].provider, amount)
    self._jobs[job].balance = balance - amount
    self._jobs[job].lastSettled = block.timestamp
    log JobSettled(job=job, amount=amount, timestamp=block.timestamp)


@internal
def _pay(receiver: address, amount: uint256):
    """Nothing is moved too: the token has a word to say of a receiver that is nobody."""
    done: bool = extcall IERC20(self.token).transfer(receiver, amount, default_return_value=True)
    assert done, "token refused"


@internal
def _update_token(token: address):
    log TokenUpdated(oldToken=self.token, newToken=token)
    self.token = token
