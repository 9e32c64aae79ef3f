"""What Copilot versions without receipts say when they end: totals of a run, or of a session over all its runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tallygate.clients.lines import Fields, Skip, Unreadable, count
from tallygate.core.usage import MAX_TOKENS

_COUNTS = ("inputTokens", "outputTokens", "cacheReadTokens", "cacheWriteTokens", "reasoningTokens")
_MODELS_MAX = 64

Told = dict[str, list[int]]


@dataclass(slots=True)
class Totals:
    """What was told before: per model the counts and then the number of requests, and the turns seen since."""

    receipts: bool = False
    turns: int = 0
    told: Told = field(default_factory=dict)

    def as_state(self) -> dict[str, Any]:
        return {"receipts": self.receipts, "turns": self.turns, "told": self.told}

    @classmethod
    def from_state(cls, state: object) -> Totals:
        """The stored totals; what is not understood reads as none."""
        if not isinstance(state, Mapping) or type(state.get("turns")) is not int:
            return cls()
        told = state.get("told")
        if not isinstance(told, Mapping) or not all(map(_numbers, told.values())):
            return cls()
        return cls(state.get("receipts") is True, state["turns"], {str(model): list(told[model]) for model in told})

    def news(self, metrics: Mapping[str, tuple[Fields, int]]) -> list[tuple[str, Fields]]:
        """What the totals of an ending run add to those before, per model; nothing where receipts say it better."""
        if len(metrics) > _MODELS_MAX:
            raise Unreadable(Skip.BAD_COUNT)
        new = {model: [*(count(used, key) for key in _COUNTS), asked] for model, (used, asked) in metrics.items()}
        before = self.told if self._grew(new) else {}
        nothing = [0] * (len(_COUNTS) + 1)
        added = {
            model: [now - then for now, then in zip(counts, before.get(model, nothing), strict=True)]
            for model, counts in new.items()
        }
        self.told, self.turns = new, 0
        if self.receipts:
            return []
        return [(model, dict(zip(_COUNTS, counts, strict=False))) for model, counts in added.items() if any(counts)]

    def _grew(self, new: Told) -> bool:
        """Whether the totals go on from those before: no version says so, but the turns in between do."""
        none: list[int] = []
        for model, counts in self.told.items():
            if not new.get(model, none) or any(now < then for now, then in zip(new[model], counts, strict=True)):
                return False
        asked, before = (sum(counts[-1] for counts in held.values()) for held in (new, self.told))
        return abs(asked - before - self.turns) <= abs(asked - self.turns)


def _numbers(counts: object) -> bool:
    return (
        isinstance(counts, list)
        and len(counts) == len(_COUNTS) + 1
        and all(type(number) is int and 0 <= number <= MAX_TOKENS for number in counts)
    )
