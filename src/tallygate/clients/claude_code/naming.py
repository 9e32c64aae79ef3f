"""What a response of Claude Code is known by, also where a gateway gives the same ids again and again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from tallygate.clients.reading.files import State
from tallygate.core.costing import Tokens
from tallygate.core.regex import regex
from tallygate.core.values import value

# Ids that Anthropic, Bedrock and Vertex mint look like this and are given once. All others a gateway has made up.
_MINTED = regex(r"msg_(?:[a-z]{2,8}_)?01[1-9A-HJ-NP-Za-km-z]{22}")
# A request's id of this length is its own; a shorter one may be a counter that begins anew.
_LONG_REQUEST = 20
_REMEMBERED = 256


def is_minted(message_id: str) -> bool:
    """Whether a message id names one response for ever."""
    return _MINTED.fullmatch(message_id) is not None


def is_own_request(request: str) -> bool:
    """Whether a request's id is long enough to be of one request only."""
    return len(request) >= _LONG_REQUEST


@value(slots=True)
class _Series:
    """The lines of one response so far: its key, its input side, its output, and whether that was said to be final."""

    key: str
    input: tuple[int, int, int, int]
    output: int
    final: bool


class Repeats:
    """Tells the responses of one file apart whose message ids say too little.

    Lines belong to one response where their input side is the same and the output does not shrink, and does not
    change once it was said to be final: every other line begins a new one. It is named by its first line's time and
    input side, so that it has one name in every copy and however the file is read.
    """

    def __init__(self, state: State | None = None) -> None:
        stored = state.get("repeats") if isinstance(state, Mapping) else None
        self._known: dict[str, _Series] = {}
        for item in stored if isinstance(stored, list) else []:
            if isinstance(item, list) and len(item) == 5 and isinstance(item[2], list) and len(item[2]) == 4:
                name, key, (fresh, read, short, long), output, final = item
                side = (int(fresh), int(read), int(short), int(long))
                self._known[str(name)] = _Series(str(key), side, int(output), bool(final))

    def __bool__(self) -> bool:
        return bool(self._known)

    def as_state(self) -> list[list[object]]:
        """Everything known, as JSON values."""
        return [
            [name, series.key, list(series.input), series.output, series.final] for name, series in self._known.items()
        ]

    def key_of(
        self, ids: tuple[str, str | None], kind: tuple[object, ...], tokens: Tokens, stamp: str, *, final: bool
    ) -> str:
        """The key of the response that a line with these ids is of; `kind` is what its lines have in common."""
        message_id, request = ids
        name = "\n".join(map(str, (message_id, request, *kind)))
        side = (tokens.fresh_input, tokens.cache_read, tokens.cache_write_5m, tokens.cache_write_1h)
        # Taken out and put back behind the others: what was not met for longest is forgotten first.
        known = self._known.pop(name, None)
        if known is None or not _goes_on(known, side, tokens.output):
            key = _key(message_id, request, side, stamp, first=known is None)
            known = _Series(key, side, tokens.output, final)
        else:
            known.input = side if any(side) else known.input
            known.output, known.final = tokens.output, known.final or final
        self._known[name] = known
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
        return known.key


def _goes_on(known: _Series, side: tuple[int, int, int, int], output: int) -> bool:
    # After the final counts only a copy says the same; anything else is another response under the same id.
    if known.final:
        return side == known.input and output == known.output
    # Some gateways tell the input only at the end of the stream.
    return output >= known.output and (side == known.input or not any(known.input) or not any(side))


def _key(message_id: str, request: str | None, side: tuple[int, ...], stamp: str, *, first: bool) -> str:
    # A gateway may give each response the same id: only where the request's id is one of Anthropic's does it name one
    # alone.
    unique = request is not None and is_own_request(request)
    base = f"{message_id}:{request}" if unique else message_id
    if unique and first:
        return base
    content = "|".join(map(str, (stamp, *side)))
    return f"{base}~{hashlib.sha256(content.encode()).hexdigest()[:16]}"
