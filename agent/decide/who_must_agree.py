"""What a node's word leads to, and who has to agree before it does. One table, a reason a row.

Nothing that can't be undone follows from one node's word: no termination, no exit, no report that
is left out, no purchase beyond the first few, no money that is taken for spent. Each statement of
a node that could lead to one of these has a row; `belief`, `burst` and the readers in `agent.chain`
go by it, and docs/security.md shows it to people (a test holds the two together). With one endpoint
there is nobody to agree: what is bounded stays bounded, and ends in a mass wait for a person
(`breaker`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Statement(StrEnum):
    """What a node says, by what it would lead to."""

    ASSIGNED = "a new job is ours"
    GONE = "no such job, or another provider's"
    ENDED = "the job is over"
    STARTED = "it is started, though we reported nothing"
    NOT_STARTED = "it is not started, though it was"
    ANOTHER = "the id is another job: owner, image, type or generation differ"
    UNFIT = "URL, escrow, owner or price ask for a refusal"
    PARAMS = "the market's parameters"
    BLOCK = "a block's hash, number and time"
    FINAL = "a block is final"
    HEIGHT = "how high the chain is"
    TIME = "how late it is on the chain"
    ABSENT = "what is not in a list of jobs, or in the logs"
    LISTED = "a list of jobs, and its length"
    REVERTS = "a call would revert"
    SETTLED = "until when a job is settled"
    MINED = "a transaction of ours is in a block, or is not, and whether it worked"
    PAID = "what a transaction cost"
    NONCE = "how many transactions our account has sent"
    PRICE = "what a block asks for gas, and how much of it a call takes"
    FUNDS = "what our account has for gas"
    TAKEN = "a transaction was taken, or was not"
    OTHERS = "what others ask for a type, and whether they could take a job"
    LISTING = "what is listed under our key"


class Agree(StrEnum):
    """Who has to, before what can't be undone follows."""

    TWO = "two endpoints"
    FEW = "nobody for the first few, two endpoints beyond"
    BOUND = "nobody: it is held to what can be known without a node"


class Until(StrEnum):
    """What is believed until two agree."""

    CLAIM = "the new claim: what follows at once can be undone"
    KNOWN = "what was known before"
    KNOWN_BRIEFLY = "what was known before, for some seconds; then the claim, as far as undoable"
    NOBODY = "nothing follows"


@dataclass(frozen=True, slots=True)
class Row:
    """One statement: what it leads to, who has to agree, what holds until then, and why so."""

    leads_to: str
    agree: Agree
    until: Until
    reason: str


TABLE: Mapping[Statement, Row] = {
    Statement.ASSIGNED: Row(
        "a purchase", Agree.FEW, Until.CLAIM,
        "an instance for minutes is what a lie costs; a second's wait for each would be more",
    ),
    Statement.GONE: Row(
        "termination, a report left out", Agree.TWO, Until.KNOWN,
        "what was assigned to us and funded is not undone by one voice",
    ),
    Statement.ENDED: Row(
        "termination, a report left out", Agree.TWO, Until.KNOWN,
        "a job served some seconds too long costs cents, one left too soon its stake",
    ),
    Statement.STARTED: Row(
        "a report left out", Agree.TWO, Until.KNOWN,
        "only our own report starts it; a report too many reverts",
    ),
    Statement.NOT_STARTED: Row(
        "an exit", Agree.TWO, Until.KNOWN_BRIEFLY,
        "a fork may have taken the report back: then it has to be sent again in time",
    ),
    Statement.ANOTHER: Row(
        "the wrong image, a refusal", Agree.TWO, Until.KNOWN_BRIEFLY,
        "a fork may have given the id to another job, until what two told is final; else it is a "
        "lie about this one",
    ),
    Statement.UNFIT: Row(
        "an exit", Agree.TWO, Until.NOBODY,
        "not to buy can be made up for a second later, an exit can't",
    ),
    Statement.PARAMS: Row(
        "every deadline: terminations, exits, reports left out", Agree.TWO, Until.KNOWN,
        "they hardly ever change; of two stories the longer times are served",
    ),
    Statement.BLOCK: Row(
        "terminations", Agree.TWO, Until.NOBODY,
        "a true hash with an invented time ends every funded job",
    ),
    Statement.FINAL: Row(
        "terminations", Agree.TWO, Until.NOBODY,
        "what one node calls final, a fork may take back",
    ),
    Statement.HEIGHT: Row(
        "the order in which nodes are asked", Agree.BOUND, Until.NOBODY,
        "any node can say 10^9: only one whose own newest block is old is behind",
    ),
    Statement.TIME: Row(
        "the order in which nodes are asked", Agree.BOUND, Until.NOBODY,
        "this machine's clock bounds it; a node beyond that is believed when all say the same",
    ),
    Statement.ABSENT: Row(
        "a job never served, its stake", Agree.TWO, Until.KNOWN,
        "a list is compared with every endpoint's, again and again: an omission is a word, too",
    ),
    Statement.LISTED: Row(
        "purchases, a reading that never ends", Agree.BOUND, Until.NOBODY,
        "each job locks StakePerJob, so the locked stake says how many; others: each id costs gas",
    ),
    Statement.REVERTS: Row(
        "a report left out", Agree.TWO, Until.NOBODY,
        "a simulation that says no is asked of a second; unanswered, it is asked again",
    ),
    Statement.SETTLED: Row(
        "gas for settlements", Agree.BOUND, Until.NOBODY,
        "one settlement a job in each period by this machine's clock, whatever was paid last",
    ),
    Statement.MINED: Row(
        "a report left out, or sent twice", Agree.TWO, Until.KNOWN,
        "what waits is kept going while two do not tell the same of it; its nonce works once",
    ),
    Statement.PAID: Row(
        "money that is taken for spent", Agree.BOUND, Until.NOBODY,
        "no more than the gas limit at the fee that was signed",
    ),
    Statement.NONCE: Row(
        "an order that is stuck", Agree.TWO, Until.KNOWN,
        "ours are known by what was sent; the lower of two counts, and a gap is filled or given up",
    ),
    Statement.PRICE: Row(
        "a report that is too dear, or never mined", Agree.TWO, Until.NOBODY,
        "of two words the higher that the budgets allow is signed: only what is used is paid",
    ),
    Statement.FUNDS: Row(
        "a report left out", Agree.TWO, Until.NOBODY,
        "the higher of two: where that is not there, no node takes the transaction",
    ),
    Statement.TAKEN: Row(
        "a report left out", Agree.BOUND, Until.NOBODY,
        "it goes to every node, again and again until it is in a block; no answer counts",
    ),
    Statement.OTHERS: Row(
        "a price too low, or one that finds no job; gas", Agree.BOUND, Until.CLAIM,
        "a rule's floor and top, a day's move and a day's gas hold whatever others are said to ask",
    ),
    Statement.LISTING: Row(
        "gas for listings, one that is missing or stays", Agree.BOUND, Until.CLAIM,
        "only what is configured is listed, for a day's gas; a job goes by the price of its match; "
        "a rule that starts waits for two",
    ),
}  # fmt: skip


def needs_two(statement: Statement) -> bool:
    """Whether one endpoint's word is not enough."""
    return TABLE[statement].agree is Agree.TWO
