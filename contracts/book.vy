# pragma version 0.4.3
"""
@title Book
@license Apache-2.0
@notice Every listing of every instance type in order of price, then of age, so that the cheapest
        listing whose provider can take a job is found however many others stand before it.
@dev One AVL tree a type. A node is open while its provider has stake for one more job; each node
     also knows of both its subtrees whether an open node is inside. The depth is at most
     1.44 * log2(listings), and so is the count of nodes that any change or search touches.
     A node is one word: two lanes (the left and the right subtree), its parent and its own flag.
     A lane is what a parent knows of a subtree: id of its top, height, whether it is open.
     The head of a type is a node too, without a parent, with the whole tree in its left lane.
     docs/decisions/matching.md tells why.
"""

import texts

# A provider's listings all open and close with its stake, so their number bounds that work.
MAX_LISTINGS: constant(uint256) = 64
# Deeper than an AVL tree of 2**48 nodes.
MAX_DEPTH: constant(uint256) = 72

LEFT: constant(uint256) = 0
RIGHT: constant(uint256) = 1
ID: constant(uint256) = 2**48 - 1
LANE: constant(uint256) = 2**64 - 1
HEIGHT_AT: constant(uint256) = 48
OPEN_AT: constant(uint256) = 56
PARENT_AT: constant(uint256) = 128
SELF_OPEN: constant(uint256) = 1 << 176
PRICE_AT: constant(uint256) = 128

_ids: uint256
_turns: uint256
_heads: HashMap[bytes32, uint256]
_names: HashMap[uint256, String[64]]
_nodes: HashMap[uint256, uint256]
_ranks: HashMap[uint256, uint256]
_owners: HashMap[uint256, address]
_listing: HashMap[uint256, HashMap[address, uint256]]
_listings: HashMap[address, DynArray[uint256, MAX_LISTINGS]]


# The word of a node


@internal
@pure
def _lane(node: uint256, side: uint256) -> uint256:
    return (node >> (64 * side)) & LANE


@internal
@pure
def _with_lane(node: uint256, side: uint256, lane: uint256) -> uint256:
    return (node & ~(LANE << (64 * side))) | (lane << (64 * side))


@internal
@pure
def _parent(node: uint256) -> uint256:
    return (node >> PARENT_AT) & ID


@internal
@pure
def _with_parent(node: uint256, parent: uint256) -> uint256:
    return (node & ~(ID << PARENT_AT)) | (parent << PARENT_AT)


@internal
@pure
def _height(lane: uint256) -> uint256:
    return (lane >> HEIGHT_AT) & 255


@internal
@pure
def _summary(id: uint256, node: uint256) -> uint256:
    """The lane that a parent keeps of this node."""
    left: uint256 = self._lane(node, LEFT)
    right: uint256 = self._lane(node, RIGHT)
    height: uint256 = 1 + max(self._height(left), self._height(right))
    open: uint256 = ((left | right) >> OPEN_AT) | ((node // SELF_OPEN) & 1)
    return id | (height << HEIGHT_AT) | ((open & 1) << OPEN_AT)


# Balance


@internal
def _rotate(id: uint256, side: uint256) -> uint256:
    """Lifts the child on that side over its parent; returns the child."""
    node: uint256 = self._nodes[id]
    child_id: uint256 = self._lane(node, side) & ID
    child: uint256 = self._nodes[child_id]
    inner: uint256 = self._lane(child, 1 - side)
    if inner != 0:
        self._nodes[inner & ID] = self._with_parent(self._nodes[inner & ID], id)
    child = self._with_parent(child, self._parent(node))
    node = self._with_parent(self._with_lane(node, side, inner), child_id)
    self._nodes[id] = node
    self._nodes[child_id] = self._with_lane(child, 1 - side, self._summary(id, node))
    return child_id


@internal
def _lean(id: uint256, side: uint256):
    """Makes the child on that side lean outwards, so that one rotation balances its parent."""
    node: uint256 = self._nodes[id]
    child_id: uint256 = self._lane(node, side) & ID
    child: uint256 = self._nodes[child_id]
    if self._height(self._lane(child, 1 - side)) > self._height(self._lane(child, side)):
        top: uint256 = self._rotate(child_id, 1 - side)
        self._nodes[id] = self._with_lane(node, side, self._summary(top, self._nodes[top]))


@internal
def _balance(id: uint256) -> uint256:
    """Balances a node whose subtrees are balanced; returns what is on top then."""
    node: uint256 = self._nodes[id]
    left: uint256 = self._height(self._lane(node, LEFT))
    right: uint256 = self._height(self._lane(node, RIGHT))
    if left > right + 1:
        self._lean(id, LEFT)
        return self._rotate(id, LEFT)
    if right > left + 1:
        self._lean(id, RIGHT)
        return self._rotate(id, RIGHT)
    return id


@internal
def _retrace(start: uint256):
    """Tells the ancestors of a changed node, balancing them, until one learns nothing new."""
    id: uint256 = start
    for i: uint256 in range(MAX_DEPTH):
        parent_id: uint256 = self._parent(self._nodes[id])
        if parent_id == 0:
            break
        top: uint256 = self._balance(id)
        parent: uint256 = self._nodes[parent_id]
        side: uint256 = LEFT if self._lane(parent, LEFT) & ID == id else RIGHT
        told: uint256 = self._with_lane(parent, side, self._summary(top, self._nodes[top]))
        if told == parent:
            break
        self._nodes[parent_id] = told
        id = parent_id


# Insert and remove


@internal
def _insert(head: uint256, id: uint256, open: bool):
    rank: uint256 = self._ranks[id]
    parent_id: uint256 = head
    side: uint256 = LEFT
    for i: uint256 in range(MAX_DEPTH):
        next: uint256 = self._lane(self._nodes[parent_id], side) & ID
        if next == 0:
            break
        parent_id = next
        side = LEFT if rank < self._ranks[next] else RIGHT
    node: uint256 = self._with_parent(SELF_OPEN if open else 0, parent_id)
    self._nodes[id] = node
    parent: uint256 = self._nodes[parent_id]
    self._nodes[parent_id] = self._with_lane(parent, side, self._summary(id, node))
    self._retrace(parent_id)


@internal
def _adopt(id: uint256, old: uint256, lane: uint256):
    """Puts another subtree where the child `old` was."""
    node: uint256 = self._nodes[id]
    side: uint256 = LEFT if self._lane(node, LEFT) & ID == old else RIGHT
    self._nodes[id] = self._with_lane(node, side, lane)
    if lane != 0:
        self._nodes[lane & ID] = self._with_parent(self._nodes[lane & ID], id)


@internal
def _unhook(id: uint256):
    """Removes a node that has one child at most."""
    node: uint256 = self._nodes[id]
    parent_id: uint256 = self._parent(node)
    self._adopt(parent_id, id, self._lane(node, LEFT) | self._lane(node, RIGHT))
    self._retrace(parent_id)


@internal
def _stand_in(id: uint256, heir: uint256):
    """Lets a node that is in no tree take the place of another."""
    node: uint256 = self._nodes[id]
    own: uint256 = self._nodes[heir] & SELF_OPEN
    taken: uint256 = (node & ~SELF_OPEN) | own
    self._nodes[heir] = taken
    for side: uint256 in range(2):
        child: uint256 = self._lane(taken, side) & ID
        if child != 0:
            self._nodes[child] = self._with_parent(self._nodes[child], heir)
    parent_id: uint256 = self._parent(node)
    self._adopt(parent_id, id, self._summary(heir, taken))
    self._retrace(parent_id)


@internal
def _remove(id: uint256):
    node: uint256 = self._nodes[id]
    right: uint256 = self._lane(node, RIGHT)
    if self._lane(node, LEFT) == 0 or right == 0:
        self._unhook(id)
    else:
        heir: uint256 = self._first(right, False)
        self._unhook(heir)
        self._stand_in(id, heir)
    self._nodes[id] = 0


# Walk


@internal
@pure
def _holds(lane: uint256, open_only: bool) -> bool:
    return (lane >> OPEN_AT) != 0 if open_only else lane != 0


@internal
@view
def _first(lane: uint256, open_only: bool) -> uint256:
    """The first node of a subtree, or its first open one; 0: none."""
    if not self._holds(lane, open_only):
        return 0
    id: uint256 = lane & ID
    for i: uint256 in range(MAX_DEPTH):
        node: uint256 = self._nodes[id]
        left: uint256 = self._lane(node, LEFT)
        if self._holds(left, open_only):
            id = left & ID
        elif not open_only or node & SELF_OPEN != 0:
            break
        else:
            id = self._lane(node, RIGHT) & ID
    return id


@internal
@view
def _next(after: uint256, open_only: bool) -> uint256:
    """The node that follows, or the next open one; 0: none."""
    node: uint256 = self._nodes[after]
    below: uint256 = self._first(self._lane(node, RIGHT), open_only)
    if below != 0:
        return below
    child: uint256 = after
    for i: uint256 in range(MAX_DEPTH):
        id: uint256 = self._parent(node)
        node = self._nodes[id]
        if self._parent(node) == 0:
            break
        if self._lane(node, LEFT) & ID == child:
            if not open_only or node & SELF_OPEN != 0:
                return id
            below = self._first(self._lane(node, RIGHT), open_only)
            if below != 0:
                return below
        child = id
    return 0


# What the other modules call


@internal
@view
def _cheapest(head: uint256) -> uint256:
    """The first open listing of a type; 0: none."""
    return self._first(self._lane(self._nodes[head], LEFT), True)


@internal
@view
def _price(id: uint256) -> uint256:
    return self._ranks[id] >> PRICE_AT


@internal
@view
def _head(name: String[texts.LIMIT]) -> uint256:
    return self._heads[keccak256(name)]


@internal
def _head_or_new(name: String[64]) -> uint256:
    key: bytes32 = keccak256(name)
    head: uint256 = self._heads[key]
    if head == 0:
        head = self._new_id()
        self._heads[key] = head
        self._names[head] = name
    return head


@internal
def _new_id() -> uint256:
    self._ids += 1
    assert self._ids < ID, "book is full"
    return self._ids


@internal
def _place(head: uint256, provider: address, price: uint256, open: bool):
    """Lists a provider behind those already at that price; at its own old price it stays."""
    id: uint256 = self._listing[head][provider]
    if id == 0:
        assert len(self._listings[provider]) < MAX_LISTINGS, "too many listings"
        id = self._new_id()
        self._listing[head][provider] = id
        self._listings[provider].append(id)
        self._owners[id] = provider
    elif self._price(id) == price:
        return
    else:
        self._remove(id)
    self._turns += 1
    self._ranks[id] = (price << PRICE_AT) | self._turns
    self._insert(head, id, open)


@internal
def _withdraw(head: uint256, provider: address):
    id: uint256 = self._listing[head][provider]
    assert id != 0, "not listed"
    self._remove(id)
    self._ranks[id] = 0
    self._owners[id] = empty(address)
    self._listing[head][provider] = 0
    last: uint256 = self._listings[provider].pop()
    for i: uint256 in range(len(self._listings[provider]), bound=MAX_LISTINGS):
        if self._listings[provider][i] == id:
            self._listings[provider][i] = last
            break


@internal
def _set_open(provider: address, open: bool):
    """Opens or closes all listings of a provider, which keep their places."""
    for id: uint256 in self._listings[provider]:
        self._nodes[id] = (self._nodes[id] & ~SELF_OPEN) | (SELF_OPEN if open else 0)
        self._retrace(id)
