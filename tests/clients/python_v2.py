"""The official Python client: python_v2.py PLAN. A plan is what `steps.mjs` says."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager

import httpx2
import mcp_types as types
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

STEP_TIMEOUT_SECONDS = 10
POLL_SECONDS = 0.01


class Failed(Exception):
    """A step saw something else than it was told to see."""


def check(holds: bool, why: str) -> None:
    if not holds:
        raise Failed(why)


async def sampled(context, params):
    text = types.TextContent(type="text", text="sampled answer")
    return types.CreateMessageResult(role="assistant", content=text, model="test-model")


async def elicited(context, params):
    return types.ElicitResult(action="accept", content={"name": "elicited answer"})


async def rooted(context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///rooted/answer", name="rooted")])


class Steps:
    """One connection and what was told over it."""

    def __init__(self) -> None:
        self.client: Client = None
        self.updated: list[str] = []
        self.logged = 0

    async def heard(self, message) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            self.updated.append(str(message.params.uri))

    async def logs(self, params) -> None:
        self.logged += 1

    def is_modern(self) -> bool:
        return self.client.protocol_version >= "2026-07-28"

    async def said(self, step, **options) -> str:
        result = await self.client.call_tool(step["tool"], step.get("arguments", {}), **options)
        return json.dumps(result.model_dump(mode="json"), ensure_ascii=False)

    async def until(self, holds, what: str) -> None:
        for _ in range(int(STEP_TIMEOUT_SECONDS / 2 / POLL_SECONDS)):
            if holds():
                return
            await asyncio.sleep(POLL_SECONDS)
        raise Failed(f"never came: {what}")

    async def list(self, step) -> None:
        names = [tool.name for tool in (await self.client.list_tools()).tools]
        check(step["has"] in names, f"no {step['has']} in {names}")

    async def version(self, step) -> None:
        check(self.client.protocol_version == step["is"], f"the version is {self.client.protocol_version}")

    async def call(self, step) -> None:
        said = await self.said(step)
        check(step["text"] in said, said)

    async def progress(self, step) -> None:
        seen = []

        async def progressed(progress, total, message) -> None:
            seen.append(progress)

        said = await self.said(step, progress_callback=progressed)
        check(seen == step["seen"], f"progress {seen}")
        check(step["text"] in said, said)

    async def cancel(self, step) -> None:
        begun = asyncio.Event()

        async def progressed(progress, total, message) -> None:
            begun.set()

        call = asyncio.create_task(self.said(step, progress_callback=progressed))
        await asyncio.wait_for(begun.wait(), STEP_TIMEOUT_SECONDS / 2)
        call.cancel()
        outcome = (await asyncio.gather(call, return_exceptions=True))[0]
        check(isinstance(outcome, asyncio.CancelledError), f"not aborted: {outcome}")
        # The word travels beside the next request, so it may arrive after it.
        said = ""
        for _ in range(20):
            said = await self.said(step["then"])
            if step["then"]["text"] in said:
                return
            await asyncio.sleep(0.1)
        raise Failed(f"the server was not told: {said}")

    async def watch(self, step) -> None:
        async with self.watching(step["uri"]):
            await self.said(step)
            await self.until(lambda: step["uri"] in self.updated, f"an update of {step['uri']}")

    @asynccontextmanager
    async def watching(self, uri: str):
        if not self.is_modern():
            await self.client.subscribe_resource(uri)
            yield
            await self.client.unsubscribe_resource(uri)
            return
        async with self.client.listen(resource_subscriptions=[uri]) as events:

            async def listen() -> None:
                async for event in events:
                    self.updated.append(str(event.uri))

            listening = asyncio.create_task(listen())
            yield
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def log(self, step) -> None:
        if not self.is_modern():
            await self.client.set_logging_level("debug")
        await self.said(step)
        await self.until(lambda: self.logged > 0, "a line of the log")

    async def read(self, step) -> None:
        said = (await self.client.read_resource(step["uri"])).model_dump_json()
        check(step["text"] in said, said)

    async def prompt(self, step) -> None:
        said = (await self.client.get_prompt(step["name"], step.get("arguments"))).model_dump_json()
        check(step["text"] in said, said)


def result(step: dict, why: str = "") -> dict:
    return {"do": step.get("as", step["do"]), "passed": not why, "why": why}


async def attempt(steps: Steps, step: dict) -> dict:
    try:
        await asyncio.wait_for(getattr(steps, step["do"])(step), STEP_TIMEOUT_SECONDS)
    except Exception as error:
        return result(step, f"{type(error).__name__}: {error}")
    return result(step)


@asynccontextmanager
async def paygate(plan: dict):
    """What a client connects to: a URL, or a command that it starts."""
    if "command" in plan:
        program, *args = plan["command"]
        yield StdioServerParameters(command=program, args=args, env=plan["env"])
        return
    async with httpx2.AsyncClient(headers={"X-API-Key": plan["key"]}, timeout=30) as http:
        yield streamable_http_client(plan["url"], http_client=http)


async def run(plan: dict) -> list[dict]:
    steps = Steps()
    results: list[dict] = []
    try:
        async with paygate(plan) as server:
            client = Client(
                server,
                mode=plan["era"],
                log_level="debug",
                sampling_callback=sampled,
                elicitation_callback=elicited,
                list_roots_callback=rooted,
                logging_callback=steps.logs,
                message_handler=steps.heard,
            )
            async with client as steps.client:
                for step in plan["steps"]:
                    results.append(await attempt(steps, step))
    except BaseException as error:
        missing = plan["steps"][len(results) :]
        results.extend(result(step, f"no connection: {error}") for step in missing)
    return results


if __name__ == "__main__":
    import warnings

    # Logging, sampling and roots are deprecated in the newest version and still served in all others.
    warnings.simplefilter("ignore")
    print(json.dumps(asyncio.run(run(json.loads(sys.argv[1])))))
