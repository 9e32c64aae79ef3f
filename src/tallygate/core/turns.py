"""What the next turn of a session costs by its context alone: while a cache has it, and once it has not."""

from __future__ import annotations

from tallygate.core.costing import Price, Tokens
from tallygate.core.learning.steps import LONG_CACHE, SHORT_CACHE
from tallygate.core.moments import MINUTE_US, microseconds
from tallygate.core.money import format_amount
from tallygate.core.usage import ObservedUsage
from tallygate.core.values import value

_MICROSECOND = SHORT_CACHE.resolution


@value(frozen=True, slots=True)
class NextTurn:
    """The context that the next turn begins with, when it was read last, and what it costs to read it.

    `kept_us` is how long the provider keeps it, as its last write was recorded; None where no write was: nobody knows
    then how long, nor what it costs to write it.
    """

    context_tokens: int
    last_us: int
    kept_us: int | None
    warm_nanos: int
    cold_nanos: int

    def is_cold(self, at_us: int) -> bool:
        """Whether the cache has lost it for sure."""
        return self.kept_us is not None and at_us - self.last_us > self.kept_us

    @property
    def lost_us(self) -> int | None:
        """The last moment at which the cache has it; None where nobody knows."""
        return None if self.kept_us is None else self.last_us + self.kept_us


def next_turn(last: ObservedUsage, written: ObservedUsage | None, price: Price) -> NextTurn | None:
    """What a session's next turn costs by the context of its `last` response; None where no price tells.

    `written` is its last response that wrote to the cache. A price that nobody knows, and one of nothing, say nothing.
    """
    size = last.tokens.context + last.tokens.output
    if not price.known or size <= 0:
        return None
    kept, anew = None, Tokens(fresh_input=size)
    if written is not None and written.tokens.cache_write_1h:
        kept, anew = LONG_CACHE // _MICROSECOND, Tokens(cache_write_1h=size)
    elif written is not None and written.tokens.cache_write_5m:
        kept, anew = SHORT_CACHE // _MICROSECOND, Tokens(cache_write_5m=size)
    warm, cold = price.cost_nanos(Tokens(cache_read=size)), price.cost_nanos(anew)
    if cold <= 0:
        return None
    return NextTurn(size, microseconds(last.at), kept, warm, cold)


def short_tokens(count: int) -> str:
    """A number of tokens in a few letters, never more than there are.

    >>> short_tokens(950), short_tokens(93_994), short_tokens(480_999), short_tokens(1_250_000)
    ('950', '93 K', '480 K', '1.2 M')
    """
    if count < 1_000:
        return str(count)
    if count < 1_000_000:
        return f"{count // 1_000} K"
    return f"{count // 1_000_000}.{count // 100_000 % 10} M"


def idle_text(us: int) -> str:
    """How long nothing was done.

    >>> idle_text(47 * MINUTE_US), idle_text(125 * MINUTE_US), idle_text(3 * 24 * 60 * MINUTE_US)
    ('47 min', '2 h 5 min', '3 days')
    """
    minutes = us // MINUTE_US
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    return f"{minutes // (24 * 60)} days"


def turn_told(turn: NextTurn, at_us: int) -> str:
    """What the next turn costs by its context, in a few words."""
    size = short_tokens(turn.context_tokens)
    warm, cold = format_amount(turn.warm_nanos), format_amount(turn.cold_nanos)
    if turn.is_cold(at_us):
        return f"idle {idle_text(at_us - turn.last_us)}: this turn rewrites {size}, {cold}, warm {warm}"
    if turn.lost_us is None:
        return f"next turn reads {size}, {warm} while it is cached"
    left = max(turn.lost_us - at_us, 0)
    return f"next turn reads {size}, {warm}; from in {max(left // MINUTE_US, 1)} min on {cold}"


def is_worth_saying(turn: NextTurn, at_us: int, limit_nanos: int | None, say_from_percent: int) -> bool:
    """Whether the next turn rewrites so much that it is said: more than a share of what limits the work.

    Where nothing limits it in money, only what a dollar does not pay is.
    """
    limit = 1_000_000_000 * 100 // say_from_percent if limit_nanos is None else limit_nanos
    return turn.is_cold(at_us) and turn.cold_nanos * 100 >= limit * say_from_percent
