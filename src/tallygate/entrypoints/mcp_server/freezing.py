"""Write down what the SDK's own server answers to what clients ask first.

    python -m tallygate.entrypoints.mcp_server.freezing [--check]

The answers stand in `frozen_answers.txt`, by era, family of tools and method; entrypoints/first_answers.py gives them
before the SDK is imported, where the product's and the SDK's versions are those of the file's first line. Whoever packs
this with another version of the SDK makes the file anew; without that a server only starts as slowly as the SDK does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import anyio
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCRequest, JSONRPCResponse

from tallygate import __version__
from tallygate.core.errors import SettingsError
from tallygate.entrypoints.first_answers import (
    HANDSHAKE,
    HANDSHAKE_VERSIONS,
    LISTS,
    MODERN,
    MODERN_VERSION,
    VERSION_HERE,
)
from tallygate.entrypoints.mcp_server.server import Family
from tallygate.entrypoints.mcp_server.shut import build_shut_server

FILE = Path(__file__).with_name("frozen_answers.txt")
_CLIENT = {"name": "freezing", "version": "1"}
_META = "io.modelcontextprotocol/"
_ENVELOPE = {
    f"{_META}protocolVersion": MODERN_VERSION,
    f"{_META}clientInfo": _CLIENT,
    f"{_META}clientCapabilities": dict[str, Any](),
}


def answers_of(family: Family, asked: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """What the SDK's server says to requests, one after the other: the results as they stand on the line."""
    found: list[str] = []
    # Nothing that is listed depends on settings, so the server without any lists it.
    low = build_shut_server(SettingsError("None are read."), family)._lowlevel_server  # noqa: SLF001 - as streams does

    async def serve() -> None:
        say, hear = anyio.create_memory_object_stream[SessionMessage | Exception](1)
        told, tell = anyio.create_memory_object_stream[SessionMessage](8)
        async with anyio.create_task_group() as group, say, hear, told, tell:
            group.start_soon(low.run, hear, told, low.create_initialization_options())
            for number, (method, params) in enumerate(asked):
                request = JSONRPCRequest(jsonrpc="2.0", id=number, method=method, params=params)
                await say.send(SessionMessage(request))
                answer = (await tell.receive()).message
                if not isinstance(answer, JSONRPCResponse):
                    raise TypeError(f"{method} was not answered: {answer}")
                line = answer.model_dump_json(by_alias=True, exclude_unset=True)
                found.append(line.removeprefix(f'{{"jsonrpc":"2.0","id":{number},"result":').removesuffix("}"))
            group.cancel_scope.cancel()

    anyio.run(serve)
    return found


def handshake(protocol: str) -> list[tuple[str, dict[str, Any]]]:
    """What a client asks first in the era of the handshake."""
    greeting = {"protocolVersion": protocol, "capabilities": dict[str, Any](), "clientInfo": _CLIENT}
    return [("initialize", greeting), *((method, dict[str, Any]()) for method in LISTS)]


def modern() -> list[tuple[str, dict[str, Any]]]:
    """What a client asks first where each request says all of it."""
    return [(method, {"_meta": _ENVELOPE}) for method in ("server/discover", *LISTS)]


def rows() -> Iterator[str]:
    """The lines of the file."""
    yield f"{__version__} mcp-{version('mcp')} mcp_types-{version('mcp-types')}"
    latest = HANDSHAKE_VERSIONS[-1]
    for family in get_args(Family):
        for era, asked in ((HANDSHAKE, handshake(latest)), (MODERN, modern())):
            for (method, _), answer in zip(asked, answers_of(family, asked), strict=True):
                text = answer.replace(f'"{latest}"', f'"{VERSION_HERE}"') if method == "initialize" else answer
                yield f"{era} {family} {method} {text}"


def main() -> int:
    """Write the file; with `--check`, only say whether it is stale."""
    text = "\n".join(rows())
    if "--check" not in sys.argv[1:]:
        FILE.write_text(text, encoding="utf-8")
        return 0
    stale = not FILE.exists() or FILE.read_text(encoding="utf-8") != text
    if stale:
        sys.stderr.write(f"{FILE.name} is stale: python -m {__spec__.name}\n")
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
