"""A small MCP server over standard input and output, with one tool: it looks something up."""

from __future__ import annotations

import json
import sys
from typing import Any

TOOL = {
    "name": "look",
    "description": "Look something up.",
    "inputSchema": {"type": "object", "properties": {"what": {"type": "string"}}},
}


def answer(asked: dict[str, Any]) -> dict[str, Any] | None:
    """What a request gets; None where it is not one that this server knows."""
    match asked.get("method"):
        case "initialize":
            version = asked["params"].get("protocolVersion", "2025-06-18")
            return {
                "protocolVersion": version,
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "shop", "version": "1"},
            }
        case "tools/list":
            return {"tools": [TOOL]}
        case "tools/call":
            return {"content": [{"type": "text", "text": "There are three of them."}]}
        case "ping":
            return {}
    return None


def main() -> None:
    """Answer line by line until the client closes its end."""
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" not in asked:
            continue
        found = answer(asked)
        unknown = {"error": {"code": -32601, "message": "unknown"}}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"]} | ({"result": found} if found is not None else unknown)))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
