// The official TypeScript client, 2.x line: typescript_v2.mjs PLAN, with the packages in $NODE_MODULES.
// The plan's era is `legacy` or `auto`; in the modern era a resource is watched by listening.

import { createRequire } from "node:module";
import { ANSWERS, run } from "./steps.mjs";

const require = createRequire(`${process.env.NODE_MODULES}/here.js`);
const { Client, StreamableHTTPClientTransport } = require("@modelcontextprotocol/client");
const { StdioClientTransport } = require("@modelcontextprotocol/client/stdio");

await run(async ({ url, key, command, env, era }) => {
  const capabilities = { sampling: {}, elicitation: {}, roots: {} };
  const options = { capabilities, versionNegotiation: { mode: era } };
  const client = new Client({ name: "typescript-v2", version: "1.0.0" }, options);
  client.setRequestHandler("sampling/createMessage", async () => ANSWERS.sampling);
  client.setRequestHandler("elicitation/create", async () => ANSWERS.elicitation);
  client.setRequestHandler("roots/list", async () => ANSWERS.roots);
  const transport = command
    ? new StdioClientTransport({ command: command[0], args: command.slice(1), env })
    : new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { "X-API-Key": key } } });
  await client.connect(transport);
  const isModern = client.getNegotiatedProtocolVersion() >= "2026-07-28";
  // Since 2026 every call asks for log lines by itself.
  const meta = {};
  return {
    version: () => client.getNegotiatedProtocolVersion(),
    listTools: () => client.listTools(),
    call: (name, args, options) => client.callTool({ name, arguments: args, _meta: { ...meta } }, options),
    read: (uri) => client.readResource({ uri }),
    prompt: (name, args) => client.getPrompt({ name, arguments: args }),
    async watch(uri, updated) {
      const handler = (notification) => updated(notification.params.uri);
      client.setNotificationHandler("notifications/resources/updated", handler);
      if (!isModern) {
        await client.subscribeResource({ uri });
        return () => client.unsubscribeResource({ uri });
      }
      const subscription = await client.listen({ resourceSubscriptions: [uri] });
      return () => subscription.close();
    },
    async onLog(line) {
      client.setNotificationHandler("notifications/message", line);
      if (isModern) meta["io.modelcontextprotocol/logLevel"] = "debug";
      else await client.setLoggingLevel("debug");
    },
    async close() {
      if (!isModern) await transport.terminateSession?.();
      await client.close();
    },
  };
});
