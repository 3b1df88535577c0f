# pragma version 0.4.3
# pragma evm-version cancun
"""The book alone, with its inside shown."""

import book

initializes: book


@external
def place(name: String[64], provider: address, price: uint256, open: bool):
    book._place(book._head_or_new(name), provider, price, open)


@external
def withdraw(name: String[64], provider: address):
    book._withdraw(book._head(name), provider)


@external
def set_open(provider: address, open: bool):
    book._set_open(provider, open)


@external
@view
def head(name: String[64]) -> uint256:
    return book._head(name)


@external
@view
def nodes(count: uint256) -> DynArray[uint256[2], 4096]:
    """Word and rank of every id up to a count; the first is id 0's, which is never set."""
    words: DynArray[uint256[2], 4096] = []
    for id: uint256 in range(count + 1, bound=4096):
        words.append([book._nodes[id], book._ranks[id]])
    return words


@external
@view
def order(name: String[64], open_only: bool) -> DynArray[address, 4096]:
    found: DynArray[address, 4096] = []
    id: uint256 = book._first(book._lane(book._nodes[book._head(name)], 0), open_only)
    for i: uint256 in range(4096):
        if id == 0:
            break
        found.append(book._owners[id])
        id = book._next(id, open_only)
    return found


@external
@view
def cheapest(name: String[64]) -> address:
    return book._owners[book._cheapest(book._head(name))]
