"""An MCP server of the official Python SDK over HTTP: http_server.py TRANSPORT PORT.

TRANSPORT is `streamable-http`, at /mcp, which speaks both eras, or `sse`, at /sse.
"""

import sys

from mcp.server import MCPServer

server = MCPServer("python-over-http")


@server.tool()
def shout(text: str) -> str:
    """The text in capitals."""
    return text.upper()


def main() -> None:
    transport, port = sys.argv[1:]
    server.run(transport=transport, host="127.0.0.1", port=int(port))


if __name__ == "__main__":
    main()
