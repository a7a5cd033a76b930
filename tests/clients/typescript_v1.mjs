// The official TypeScript SDK, 1.x line: typescript_v1.mjs PLAN, with the packages in $NODE_MODULES.

import { createRequire } from "node:module";
import { ANSWERS, run } from "./steps.mjs";

const require = createRequire(`${process.env.NODE_MODULES}/here.js`);
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");
const { StdioClientTransport } = require("@modelcontextprotocol/sdk/client/stdio.js");
const types = require("@modelcontextprotocol/sdk/types.js");

await run(async ({ url, key, command, env }) => {
  const capabilities = { sampling: {}, elicitation: {}, roots: {} };
  const client = new Client({ name: "typescript-v1", version: "1.0.0" }, { capabilities });
  client.setRequestHandler(types.CreateMessageRequestSchema, async () => ANSWERS.sampling);
  client.setRequestHandler(types.ElicitRequestSchema, async () => ANSWERS.elicitation);
  client.setRequestHandler(types.ListRootsRequestSchema, async () => ANSWERS.roots);
  const transport = command
    ? new StdioClientTransport({ command: command[0], args: command.slice(1), env })
    : new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { "X-API-Key": key } } });
  // The client tells its transport which version was agreed on, and nobody else.
  let version;
  const tell = transport.setProtocolVersion?.bind(transport);
  transport.setProtocolVersion = (agreed) => {
    version = agreed;
    tell?.(agreed);
  };
  await client.connect(transport);
  return {
    version: () => version,
    listTools: () => client.listTools(),
    call: (name, args, options) => client.callTool({ name, arguments: args }, undefined, options),
    read: (uri) => client.readResource({ uri }),
    prompt: (name, args) => client.getPrompt({ name, arguments: args }),
    async watch(uri, updated) {
      const handler = (notification) => updated(notification.params.uri);
      client.setNotificationHandler(types.ResourceUpdatedNotificationSchema, handler);
      await client.subscribeResource({ uri });
      return () => client.unsubscribeResource({ uri });
    },
    async onLog(line) {
      client.setNotificationHandler(types.LoggingMessageNotificationSchema, line);
      await client.setLoggingLevel("debug");
    },
    async close() {
      await transport.terminateSession?.();
      await client.close();
    },
  };
});
