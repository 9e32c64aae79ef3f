"""Every client, once: by its name, by the name its rows are stored under, and by what it calls itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from tallygate.clients import FOLDERS
from tallygate.clients.client import Client
from tallygate.core.guard.nested import NestedClient
from tallygate.core.hooks import HookEvent, HookFacts, Moment
from tallygate.core.usage import Rules
from tallygate.core.words import ClientNames, client_name

if TYPE_CHECKING:
    from tallygate.clients.reading.files import Transcripts
    from tallygate.clients.reading.hooks import Hooks
    from tallygate.clients.reading.otlp import ReadEvents


class Registry:
    """Clients in the order in which they are listed, and what is looked up among them.

    Names are at hand at once; what reads transcripts and hooks is imported where somebody asks for it.
    """

    def __init__(self, clients: Iterable[Client]) -> None:
        every = tuple(clients)
        self.clients: Mapping[str, Client] = {client.name: client for client in every}
        self._stored: Mapping[str, Client] = {client.stored_as: client for client in every}
        self.names = ClientNames(
            {word: client.name for client in every for word in client.calls_itself},
            frozenset(word for client in every for word in client.says_beside),
        )

    def fits(self, match: str) -> bool:
        """Whether a name or a pattern of clients means one that is known here."""
        wanted = client_name(self.names.meant(match))
        return any(fnmatchcase(name, wanted) for name in self.clients)

    def stored(self, name: str) -> Client | None:
        """The client whose rows are stored under a name."""
        return self._stored.get(name)

    def facts_of(self, stored: str) -> HookFacts | None:
        """What holds for the hooks of a client, by its stored name; None where it has none."""
        client = self.stored(stored)
        return None if client is None else client.facts

    def asks_again(self, name: str) -> bool:
        """Whether a client asks its model once more when a tool is refused; `name` is that of a session's client."""
        client = self.clients.get(client_name(name))
        return client is not None and client.facts is not None and client.facts.asks_again

    def of_family(self, name: str) -> Client | None:
        """The client that is meant by any of its names, where it is one of a family."""
        family = self.family_of(name)
        return next((client for client in self.clients.values() if client.family == family is not None), None)

    def family_of(self, name: str) -> str | None:
        """The client behind any of its names (with `-mcp-client` behind it, say); None for one that says nothing."""
        lowered = name.lower()
        families = (client.family for client in self.clients.values() if client.family)
        return next((family for family in families if family in lowered), None)

    @cached_property
    def rules(self) -> Rules:
        """Every rule by which a client's records are read, by the text that is stored."""
        return Rules({rule.text: rule for client in self.clients.values() for rule in client.rules})

    @cached_property
    def sources(self) -> Mapping[str, Transcripts]:
        """Every client whose transcripts we read, by its stored name."""
        parts = (client.transcripts for client in self.clients.values())
        return {source.client: source for source in (part.load() for part in parts if part is not None)}

    @cached_property
    def telemetry(self) -> Mapping[str, ReadEvents]:
        """What reads the telemetry of each client that sends some, by its stored name."""
        parts = ((client.stored_as, client.telemetry) for client in self.clients.values())
        return {name: part.load() for name, part in parts if part is not None}

    @property
    def gating_events(self) -> tuple[str, ...]:
        """The names of hooks, in their clients' words, at which a client can still be stopped; each once."""
        return tuple(dict.fromkeys(name for client in self.clients.values() for name in client.gating_events))

    @property
    def ending_events(self) -> tuple[str, ...]:
        """The names of hooks at which a client is told, as its session ends, why it was stopped; each once."""
        told = (client for client in self.clients.values() if client.facts and client.facts.told_at_end is not None)
        moments = (self.hooks[client.stored_as].moments for client in told)
        return tuple(dict.fromkeys(name for each in moments for name in each if each[name] is Moment.SESSION_END))

    @property
    def workspace_variables(self) -> tuple[str, ...]:
        """The variables by which clients tell their hooks where they are at work."""
        return tuple(name for client in self.clients.values() for name in client.workspace_variables)

    @property
    def nested(self) -> Mapping[str, NestedClient]:
        """What takes the hooks from each client that has some, by the name of its program."""
        return {client.binaries[0]: client.nested for client in self.clients.values() if client.nested is not None}

    @property
    def project_variables(self) -> tuple[str, ...]:
        """The variables by which clients tell a server where they are at work."""
        return tuple(name for client in self.clients.values() for name in client.project_variables)

    @cached_property
    def hooks(self) -> Mapping[str, Hooks]:
        """Every client whose hooks we answer, by its stored name."""
        parts = (client.hooks for client in self.clients.values())
        return {hooks.client: hooks for hooks in (part.load() for part in parts if part is not None)}


REGISTRY = Registry(import_module(f"tallygate.clients.{folder}.client").CLIENT for folder in FOLDERS)


def weakens(home: Path, environ: Mapping[str, str], event: HookEvent) -> str | None:
    """Whether a change of a client's settings would switch the gate off, in a sentence."""
    client = REGISTRY.stored(event.client)
    if client is None or client.weakened is None or event.changed_file is None:
        return None
    folder = None if event.folder is None else Path(event.folder)
    return client.weakened(Path(event.changed_file), folder, home, environ)


def stands_in(home: Path, environ: Mapping[str, str], event: HookEvent) -> str | None:
    """Whether another server would answer a client's hooks in the place of ours, in a sentence."""
    client = REGISTRY.stored(event.client)
    if client is None or client.stand_in is None or event.folder is None:
        return None
    return client.stand_in(Path(event.folder), home, environ)
