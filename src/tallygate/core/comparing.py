"""What a bill tells of some usage against what was recorded of it: the common part, and what only one of them has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tallygate.core.money import TOKENS_PER_RATE
from tallygate.core.tallies import Amounts, Bucket, Gap, Outcome, Part, Share, Told

# What integer shares of a cell may lose between them.
_ROUNDING_NANOS = 16

RateOf = Callable[[Part], int | None]


@dataclass(frozen=True, slots=True)
class _Cell:
    """Both sides on the same parts."""

    left: Amounts
    counts: Mapping[Part, int]
    money: Mapping[Part, int]
    told: Told


@dataclass(slots=True)
class _Split:
    """One part of a cell: what both sides have in common, and what each has beyond that."""

    part: Part
    common: tuple[int | None, int, int | None]
    rest_recorded: tuple[int | None, int]
    rest_billed: tuple[int | None, int | None]
    by_tokens: bool


def compare(recorded: Amounts, lines: int, told: Told, rate_of: RateOf) -> Outcome:
    """Bring everything of one cell into its buckets; `lines` is how many rows the recorded amounts are of.

    Counts decide what is common, or money where the bill tells no counts. Money is judged on the common part alone:
    what differs by more than rounding there is a drift of the price.
    """
    left, right = recorded, told.amounts
    if Part.READ in right.tokens or Part.READ in right.nanos:
        left, right = left.with_inputs_joined(), right.with_inputs_joined()
    slack = lines + _ROUNDING_NANOS
    outcome = Outcome(tolerance_nanos=sum(told.tolerance.values()) + slack)
    if _is_same(left, right, told, outcome):
        return outcome
    together = told.whole_nanos is not None
    money = _with_whole(told, left, right, rate_of) if together else right.nanos
    splits: list[_Split] = []
    for part in sorted({*left.tokens, *left.nanos, *right.tokens, *money}):
        split = _split(_Cell(left, right.tokens, money, told), part, rate_of, outcome)
        if split is not None:
            splits.append(split)
    if together:
        _judge(splits, outcome.tolerance_nanos, outcome)
    else:
        for split in splits:
            _judge([split], told.tolerance.get(split.part, 0) + slack, outcome)
    if not right.tokens and money:
        outcome.miss(Gap.NO_COUNTS)
    return outcome


def _is_same(left: Amounts, right: Amounts, told: Told, outcome: Outcome) -> bool:
    """Whether one amount and all counts are those of the record, as most are: then nothing has to be taken apart."""
    whole = told.whole_nanos
    if (
        whole is None
        or right.nanos
        or abs(whole - left.total_nanos) > outcome.tolerance_nanos
        or not any(left.nanos.values())
    ):
        return False
    counts = {part: count for part, count in left.tokens.items() if count}
    if counts != {part: count for part, count in right.tokens.items() if count} or not counts:
        return False
    outcome.shares[Bucket.MATCHED] = Share(
        Amounts(dict(left.tokens), dict(left.nanos)), Amounts(counts, shared(whole, left.nanos))
    )
    return True


def _split(cell: _Cell, part: Part, rate_of: RateOf, outcome: Outcome) -> _Split | None:
    """One part taken apart, or None where the bill does not tell of it: then it has its bucket already."""
    left, told = cell.left, cell.told
    tokens, nanos = left.tokens.get(part, 0), left.nanos.get(part, 0)
    billed_tokens, billed_nanos = cell.counts.get(part), cell.money.get(part)
    uncounted = told.whole_nanos is not None and bool(cell.counts) and part is not Part.OTHER
    if billed_tokens is None and (billed_nanos is None or uncounted):
        _untold(part, left, billed_nanos, outcome, known_as_none=told.by_class)
        return None
    if billed_tokens is None:
        # Money only: what both have of it is common, and the tokens it pays for.
        money = billed_nanos or 0
        common = max(min(nanos, money), 0)
        kept = tokens * common // nanos if nanos else tokens
        return _Split(part, (kept, common, common), (tokens - kept, nanos - common), (None, money - common), False)
    both = min(tokens, billed_tokens)
    mine = nanos * both // tokens if tokens else 0
    if billed_nanos is not None:
        theirs = billed_nanos * both // billed_tokens if billed_tokens else billed_nanos
        rest: int | None = billed_nanos - theirs
    else:
        theirs, rest = mine, _priced(billed_tokens - both, part, left, rate_of)
        outcome.priced_nanos += theirs + (rest or 0)
        if rest is None:
            outcome.miss(Gap.UNKNOWN_PRICE)
    return _Split(part, (both, mine, theirs), (tokens - both, nanos - mine), (billed_tokens - both, rest), True)


def _untold(part: Part, left: Amounts, billed: int | None, outcome: Outcome, *, known_as_none: bool) -> None:
    tokens, nanos = left.tokens.get(part), left.nanos.get(part)
    if known_as_none and billed is None:
        if tokens or nanos:
            outcome.share(Bucket.LEDGER_ONLY).recorded.add(part, tokens, nanos)
        return
    if tokens or nanos or billed:
        share = outcome.set_aside(Gap.CLASS_NOT_TOLD)
        share.recorded.add(part, tokens, nanos)
        share.billed.add(part, None, billed)


def _priced(count: int, part: Part, left: Amounts, rate_of: RateOf) -> int | None:
    """What tokens cost that a bill gives no money for: as those that were recorded, else by the list."""
    if not count:
        return 0
    tokens = left.tokens.get(part, 0)
    if tokens:
        return -(-count * left.nanos.get(part, 0) // tokens)
    rate = rate_of(part)
    return None if rate is None else -(-count * rate // TOKENS_PER_RATE)


def _judge(splits: list[_Split], tolerance: int, outcome: Outcome) -> None:
    """Give the common parts to matched or price drift, and the rest to the side that has it."""
    by_money = [split for split in splits if not split.by_tokens]
    counted = [split for split in splits if split.by_tokens]
    off = sum((split.common[2] or 0) - split.common[1] for split in counted)
    used = any(split.common[0] for split in counted)
    if used and by_money:
        # Beside counted parts under one amount, fees are a part of what is judged.
        off += sum((split.rest_billed[1] or 0) - split.rest_recorded[1] for split in by_money)
    else:
        apart = sum((split.rest_billed[1] or 0) - split.rest_recorded[1] for split in by_money)
        # What one side does not have at all is no rounding of the other.
        if any(split.common[1] for split in by_money) and abs(apart) <= tolerance:
            for split in by_money:
                _put_whole(split, Bucket.MATCHED, outcome)
            by_money = []
    verdict = Bucket.MATCHED if abs(off) <= tolerance else Bucket.PRICE_DRIFT
    for split in counted:
        _put(split, verdict, outcome)
    for split in by_money:
        if used:
            _put_whole(split, verdict, outcome)
        else:
            _put(split, Bucket.MATCHED, outcome)


def _put(split: _Split, bucket: Bucket, outcome: Outcome) -> None:
    tokens, mine, theirs = split.common
    if tokens or mine or theirs:
        share = outcome.share(bucket)
        share.recorded.add(split.part, tokens, mine)
        share.billed.add(split.part, tokens if split.by_tokens else None, theirs)
    if any(split.rest_recorded):
        outcome.share(Bucket.LEDGER_ONLY).recorded.add(split.part, *split.rest_recorded)
    if any(split.rest_billed):
        outcome.share(Bucket.BILL_ONLY).billed.add(split.part, *split.rest_billed)


def _put_whole(split: _Split, bucket: Bucket, outcome: Outcome) -> None:
    if not any((*split.common, *split.rest_recorded, *split.rest_billed)):
        return
    share = outcome.share(bucket)
    for tokens, nanos in ((split.common[0], split.common[1]), split.rest_recorded):
        share.recorded.add(split.part, tokens, nanos)
    for amount in (split.common[2], split.rest_billed[1]):
        share.billed.add(split.part, None, amount)


def _with_whole(told: Told, left: Amounts, right: Amounts, rate_of: RateOf) -> dict[Part, int]:
    """The bill's money by part: what no part is named for goes by what the parts are worth."""
    parts = sorted({*left.tokens, *left.nanos, *right.tokens})
    worth = {part: _worth(part, left, right, rate_of) for part in parts}
    if not any(worth.values()):
        worth = dict(right.tokens) if any(right.tokens.values()) else {Part.OTHER: 1}
    money = dict(right.nanos)
    for part, nanos in shared(told.whole_nanos or 0, worth).items():
        money[part] = money.get(part, 0) + nanos
    return money


def _worth(part: Part, left: Amounts, right: Amounts, rate_of: RateOf) -> int:
    count = right.tokens.get(part)
    if count is None:
        return left.nanos.get(part, 0)
    return _priced(count, part, left, rate_of) or 0


def shared(amount: int, weights: Mapping[Part, int]) -> dict[Part, int]:
    """An amount divided by weights, to the last nano.

    >>> shared(10, {Part.INPUT: 1, Part.OUTPUT: 2}) == {Part.INPUT: 3, Part.OUTPUT: 7}
    True
    """
    whole = sum(weights.values())
    found: dict[Part, int] = {}
    so_far = given = 0
    for part in sorted(weights):
        so_far += weights[part]
        upto = amount * so_far // whole
        found[part] = upto - given
        given = upto
    return found
