"""The floor: a server of the same SDK with one tool that does nothing."""

from __future__ import annotations

from mcp.server import MCPServer

server: MCPServer = MCPServer("noop", subscriptions=False, log_level="WARNING")


@server.tool()
async def noop(session_id: str, tool_name: str) -> dict[str, str]:
    """Answer at once."""
    return {"session_id": session_id, "tool_name": tool_name}


if __name__ == "__main__":
    server.run("stdio")
