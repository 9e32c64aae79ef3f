"""A server that was started while the ledger could not tell whether the limits are locked.

Until it can, every gate is shut. Then settings are read again, and what is signed of them is in force from there on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from tallygate.core.words import UnknownPrice
from tallygate.operations.runtime import Runtime

if TYPE_CHECKING:  # the SDK stands behind these, and hooks are answered before it is there
    from tallygate.entrypoints.mcp_server.arguments import CallArguments
    from tallygate.entrypoints.mcp_server.tools import Caller, ToolSpec


class Renewable(Protocol):
    """A program that may have to be made anew."""

    @property
    def runtime(self) -> Runtime: ...
    @property
    def unknown_price(self) -> UnknownPrice: ...
    def renewed(self) -> Self | None: ...
    def runtime_for(self, workspace: Path | None) -> Runtime: ...


Made = TypeVar("Made", bound=Renewable)


class Renewing(Generic[Made]):
    """The program of a server at each moment; `begin` is called once with the one that takes the place of the first."""

    def __init__(self, app: Made, specs_of: Callable[[Made], list[ToolSpec]], begin: Callable[[Made], None]) -> None:
        self._app = app
        self._specs_of = specs_of
        self._begin = begin
        self._later: Made | None = None
        self._specs: Mapping[str, ToolSpec] = {}
        self._guard = threading.Lock()

    def now(self) -> Made:
        """The program by settings as they are in force."""
        with self._guard:
            if self._later is None and (later := self._app.renewed()) is not None:
                self._specs = {spec.name: spec for spec in self._specs_of(later)}
                self._begin(later)
                self._later = later
            return self._later or self._app

    @property
    def last(self) -> Made:
        """The program that was made last, for whoever ends it."""
        return self._later or self._app

    def answering(self) -> tuple[Runtime, UnknownPrice]:
        """The program of the moment, as resources ask for it."""
        made = self.now()
        return made.runtime, made.unknown_price

    def runtime_for(self, workspace: Path | None) -> Runtime:
        """The program of a workspace, as hooks ask for it."""
        return self.now().runtime_for(workspace)

    def specs(self, specs: list[ToolSpec]) -> list[ToolSpec]:
        """Tools that answer by the program of the moment. What they are called and take depends on no settings."""
        return [replace(spec, answer=self._answering(spec), quick=False, asks=None) for spec in specs]

    def _answering(self, spec: ToolSpec) -> Callable[[CallArguments, Caller], dict[str, Any]]:
        def answer(given: CallArguments, caller: Caller) -> dict[str, Any]:
            self.now()
            return self._specs.get(spec.name, spec).answer(given, caller)

        return answer
