// What the TypeScript clients are made to do, one step after another over one connection. A plan is
// JSON: {url, key, era, steps: [...]}, or {command: [...], env: {...}, …} for a client that starts Paygate
// itself; what is printed is a JSON list of {do, passed, why}.

const STEP_TIMEOUT_MS = 10_000;

// How the client answers whatever a server asks it.
export const ANSWERS = {
  sampling: { role: "assistant", content: { type: "text", text: "sampled answer" }, model: "test-model" },
  elicitation: { action: "accept", content: { name: "elicited answer" } },
  roots: { roots: [{ uri: "file:///rooted/answer", name: "rooted" }] },
};

function check(holds, why) {
  if (!holds) throw new Error(why);
}

const textOf = (result) => JSON.stringify(result);

async function until(holds, what) {
  const deadline = Date.now() + STEP_TIMEOUT_MS / 2;
  while (!holds()) {
    check(Date.now() < deadline, `never came: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const kinds = {
  async list(client, step) {
    const names = (await client.listTools()).tools.map((tool) => tool.name);
    check(names.includes(step.has), `no ${step.has} in ${names}`);
  },

  // Before anything else: a client that fell back to another era proves nothing of this one.
  async version(client, step) {
    check(client.version() === step.is, `the version is ${client.version()}`);
  },

  async call(client, step) {
    const said = textOf(await client.call(step.tool, step.arguments));
    check(said.includes(step.text), said);
  },

  async progress(client, step) {
    const seen = [];
    const onprogress = (progress) => seen.push(progress.progress);
    const said = textOf(await client.call(step.tool, step.arguments, { onprogress }));
    check(JSON.stringify(seen) === JSON.stringify(step.seen), `progress ${seen}`);
    check(said.includes(step.text), said);
  },

  async cancel(client, step) {
    const abort = new AbortController();
    let begun = false;
    const onprogress = () => { begun = true; };
    const call = client.call(step.tool, step.arguments, { onprogress, signal: abort.signal });
    const ended = call.then(() => "answered", () => "aborted");
    await until(() => begun, "the first progress");
    abort.abort("enough");
    check((await ended) === "aborted", "the call was answered although it was aborted");
    // The word travels beside the next request, so it may arrive after it.
    let said = "";
    for (const deadline = Date.now() + STEP_TIMEOUT_MS / 2; Date.now() < deadline; ) {
      said = textOf(await client.call(step.then.tool, step.then.arguments));
      if (said.includes(step.then.text)) return;
    }
    throw new Error(`the server was not told: ${said}`);
  },

  async watch(client, step) {
    const updated = [];
    const stop = await client.watch(step.uri, (uri) => updated.push(uri));
    await client.call(step.tool, step.arguments);
    await until(() => updated.includes(step.uri), `an update of ${step.uri}`);
    await stop();
  },

  async log(client, step) {
    const lines = [];
    await client.onLog((line) => lines.push(line));
    await client.call(step.tool, step.arguments);
    await until(() => lines.length > 0, "a line of the log");
  },

  async read(client, step) {
    const said = textOf(await client.read(step.uri));
    check(said.includes(step.text), said);
  },

  async prompt(client, step) {
    const said = textOf(await client.prompt(step.name, step.arguments));
    check(said.includes(step.text), said);
  },
};

async function attempt(client, step) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("timed out")), STEP_TIMEOUT_MS);
  });
  try {
    await Promise.race([kinds[step.do](client, step), late]);
    return { do: step.as ?? step.do, passed: true, why: "" };
  } catch (error) {
    return { do: step.as ?? step.do, passed: false, why: String(error?.message ?? error) };
  } finally {
    clearTimeout(timer);
  }
}

// `connect(plan)` gives a client with the few functions used above, and `close`.
export async function run(connect) {
  const plan = JSON.parse(process.argv[2]);
  const results = [];
  let client;
  try {
    client = await connect(plan);
  } catch (error) {
    const why = `no connection: ${error?.message ?? error}`;
    results.push(...plan.steps.map((step) => ({ do: step.as ?? step.do, passed: false, why })));
  }
  if (client) for (const step of plan.steps) results.push(await attempt(client, step));
  console.log(JSON.stringify(results));
  // A connection that does not close must not keep the test.
  setTimeout(() => process.exit(0), 500).unref();
  await client?.close().catch(() => {});
  process.exit(0);
}
