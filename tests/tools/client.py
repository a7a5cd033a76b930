"""Calls one tool through the official Python client: client.py URL KEY MODE TOOL ARGUMENTS.

MODE is `legacy` (initialize handshake) or `auto` (server/discover first, as the client does by
default). Prints one JSON object: the protocol version, the names of the listed tools, and of the
result its texts and whether it is an error; or, if the server answered with a JSON-RPC error, that.
"""

import asyncio
import json
import sys

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError


async def call(url: str, key: str, mode: str, tool: str, arguments: dict) -> dict:
    seen: dict = {}
    async with httpx2.AsyncClient(headers={"X-API-Key": key}, timeout=30) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            seen["protocol"] = client.protocol_version
            seen["tools"] = [tool.name for tool in (await client.list_tools()).tools]
            try:
                result = await client.call_tool(tool, arguments)
            except MCPError as error:
                seen["error"] = {"code": error.error.code, "message": error.error.message}
            else:
                seen["is_error"] = bool(result.is_error)
                seen["texts"] = [block.text for block in result.content if block.type == "text"]
    return seen


def main() -> None:
    url, key, mode, tool, arguments = sys.argv[1:]
    print(json.dumps(asyncio.run(call(url, key, mode, tool, json.loads(arguments)))))


if __name__ == "__main__":
    main()
