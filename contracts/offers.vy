# pragma version 0.4.3
"""
@title Offers
@license Apache-2.0
@notice Who offers which instance type at what price, and who gets a job.
"""

import book
import parameters
import stake
import texts

uses: book
uses: parameters
uses: stake

event Registered:
    provider: indexed(address)
    instanceType: String[64]
    price: uint256

event Deregistered:
    provider: indexed(address)
    instanceType: String[64]

struct Offer:
    provider: address
    price: uint256

MAX_PRICE: constant(uint256) = 2**128 - 1
PAGE: constant(uint256) = 50
# As many providers at most are ever barred from one job: it has no more assignments.
MAX_ASSIGNMENTS: constant(uint256) = 256

_barred: HashMap[uint256, HashMap[address, bool]]


@external
@nonreentrant
def register(instanceType: String[texts.LIMIT], price: uint256):
    """
    @notice Lists the caller for an instance type, or re-prices its listing.
    @dev A provider has at most 64 listings at a time.
    @param instanceType Opaque to the contract, 1 to 64 bytes; by convention region/type.
    @param price Payment-token base units a second, times 10**12; 1 to 2**128 - 1.
    """
    name: String[64] = texts._instance_type(instanceType)
    assert price > 0, "price is 0"
    assert price <= MAX_PRICE, "price too high"
    assert stake._total[msg.sender] >= parameters.STAKE_PER_JOB, "stake too low"
    head: uint256 = book._head_or_new(name)
    book._place(head, msg.sender, price, stake._can_take_job(msg.sender))
    log Registered(provider=msg.sender, instanceType=name, price=price)


@external
@nonreentrant
def deregister(instanceType: String[texts.LIMIT]):
    """
    @notice Ends the caller's listing. Jobs that run are not touched.
    @param instanceType What it was listed as.
    """
    name: String[64] = texts._instance_type(instanceType)
    book._withdraw(book._head(name), msg.sender)
    log Deregistered(provider=msg.sender, instanceType=name)


@external
@view
def offer(provider: address, instanceType: String[texts.LIMIT]) -> uint256:
    """
    @notice The price at which a provider lists a type.
    @param provider Whose listing.
    @param instanceType What it is listed as.
    @return Payment-token base units a second, times 10**12; 0: not listed.
    """
    return book._price(book._listing[book._head(instanceType)][provider])


@external
@view
def offers(
    instanceType: String[texts.LIMIT], start: uint256, count: uint256
) -> DynArray[Offer, PAGE]:
    """
    @notice Listings of a type, cheapest first, then earliest first, stake or no stake.
    @dev Costs about 2 storage reads for each listing up to start + count.
    @param instanceType What is listed.
    @param start How many to leave out; past the end the answer is empty.
    @param count How many to answer, at most 50.
    @return The listings.
    """
    page: DynArray[Offer, PAGE] = []
    id: uint256 = book._first(book._lane(book._nodes[book._head(instanceType)], 0), False)
    seen: uint256 = 0
    for i: uint256 in range(2**64):
        if id == 0 or seen >= start and seen - start >= min(count, PAGE):
            break
        if seen >= start:
            page.append(Offer(provider=book._owners[id], price=book._price(id)))
        id = book._next(id, False)
        seen += 1
    return page


@internal
def _match(head: uint256, max_price: uint256, job_id: uint256) -> Offer:
    """The winner, its stake locked; empty when nobody is left."""
    id: uint256 = book._cheapest(head)
    for i: uint256 in range(MAX_ASSIGNMENTS):
        if id == 0:
            break
        found: Offer = Offer(provider=book._owners[id], price=book._price(id))
        if found.price > max_price:
            break
        if not self._barred[job_id][found.provider]:
            stake._lock(found.provider)
            return found
        id = book._next(id, True)
    return empty(Offer)
