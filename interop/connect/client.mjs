// The TypeScript SDK's client over stdio: node client.mjs SCENARIO WIRE COMMAND ARGS…
// starts COMMAND as its MCP server, fails where something is not as it should be, and says "cut me"
// where the connection to the server is to be dropped.
import assert from 'node:assert/strict';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

const [scenario, wire, command, ...args] = process.argv.slice(2);
const text = (result) => result.content.map((c) => c.text).join('\n');
const asked = { sampling: 0, elicitation: 0 };
const errors = [];

const client = new Client(
  { name: 'interop', version: '1' },
  {
    capabilities: { sampling: {}, elicitation: {}, roots: {} },
    versionNegotiation: { mode: wire === 'stateless' ? { pin: '2026-07-28' } : 'legacy' },
  },
);
// Also for each line on stdout that is no MCP. Progress right before its answer, or of a call that
// was given up, is of a token that the SDK has forgotten.
client.onerror = (err) => /progress notification for an unknown token/.test(err) || errors.push(String(err));
client.setRequestHandler('sampling/createMessage', async () => {
  asked.sampling++;
  return { model: 'none', role: 'assistant', content: { type: 'text', text: 'forty-two' } };
});
client.setRequestHandler('elicitation/create', async () => {
  asked.elicitation++;
  return { action: 'accept', content: { name: 'Ada', confirm: true } };
});
client.setRequestHandler('roots/list', async () => ({ roots: [] }));

const call = (name, args = {}, options) => client.callTool({ name, arguments: args }, options);

// steps runs a tool that reports progress, and returns its text and the steps that came over stdio:
// the SDK forgets who waits for progress when the answer comes right behind it.
const came = [];
async function steps(name, args, onstep) {
  came.length = 0;
  const result = await call(name, args, { onprogress: (p) => onstep?.(p.progress) });
  const own = Math.max(...came.map((m) => m.params.progressToken)); // server-everything walks on after a cancellation
  return { seen: came.filter((m) => m.params.progressToken === own).map((m) => m.params.progress), said: text(result) };
}

async function cancelled(name, args) {
  const stop = new AbortController();
  const began = Date.now();
  await assert.rejects(call(name, args, { signal: stop.signal, onprogress: () => stop.abort() }));
  assert.ok(Date.now() - began < 10_000, 'the cancelled call held the client up');
}

const scenarios = {
  // server-everything, which speaks the wire with sessions only.
  async everything() {
    const { tools } = await client.listTools();
    assert.ok(tools.length >= 10);
    assert.equal(text(await call('echo', { message: 'line\nbreak \u2028 ✓' })), 'Echo: line\nbreak \u2028 ✓');
    const { resources } = await client.listResources();
    const { contents } = await client.readResource({ uri: resources[0].uri });
    assert.ok(contents.length > 0);
    const { prompts } = await client.listPrompts();
    assert.ok(prompts.length > 0);
    assert.ok((await client.getPrompt({ name: 'simple-prompt' })).messages.length > 0);
    assert.match(text(await call('trigger-sampling-request', { prompt: 'what?' })), /forty-two/);
    assert.match(text(await call('trigger-elicitation-request')), /accept|Ada/i);
    assert.deepEqual(asked, { sampling: 1, elicitation: 1 });
    const walk = await steps('trigger-long-running-operation', { duration: 0.4, steps: 4 });
    assert.deepEqual(walk.seen, [1, 2, 3, 4]);
    await cancelled('trigger-long-running-operation', { duration: 30, steps: 60 });
    const many = await Promise.all(Array.from({ length: 50 }, (_, i) => call('get-sum', { a: i, b: 1 })));
    many.forEach((result, i) => assert.match(text(result), new RegExp(`\\b${i + 1}\\b`)));
    // The connection drops in the middle of a call: its stream is taken up again, and no step is lost.
    const dropped = await steps('trigger-long-running-operation', { duration: 2, steps: 8 }, (n) => n === 2 && console.log('cut me'));
    assert.deepEqual(dropped.seen, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert.match(dropped.said, /completed/);
    await assert.rejects(call('get-env'), /deny\[0\]/); // by a rule of the gateway
  },

  // A server of either wire with the tools ask, walk, hang and add.
  async small() {
    const { tools } = await client.listTools();
    assert.deepEqual(tools.map((t) => t.name).sort(), ['add', 'ask', 'hang', 'walk']);
    assert.match(text(await call('add', { a: 1, b: 2 })), /^3$/);
    const walk = await steps('walk', { steps: 3 });
    assert.deepEqual(walk.seen, [1, 2, 3]);
    assert.equal(text(await call('ask')), 'forty-two, Ada');
    assert.deepEqual(asked, { sampling: 1, elicitation: 1 });
    await cancelled('hang', {});
    const big = 'x'.repeat(700_000); // the gateway takes a MiB
    assert.equal(text(await call('walk', { steps: 0, echo: big })), big);
    const many = await Promise.all(Array.from({ length: 50 }, (_, i) => call('add', { a: i, b: 1 })));
    many.forEach((result, i) => assert.equal(text(result), String(i + 1)));
  },

  // The other wire than the server's.
  async mismatch() {
    throw new Error('it must not connect');
  },
};

const transport = new StdioClientTransport({ command, args, env: process.env, stderr: 'inherit' });
try {
  await client.connect(transport);
} catch (err) {
  if (scenario !== 'mismatch') throw err;
  console.log(`refused: ${err.message}`);
  await client.close();
  process.exit(0);
}
const receive = transport.onmessage;
transport.onmessage = (message, ...rest) => {
  if (message.method === 'notifications/progress') came.push(message);
  receive(message, ...rest);
};
await scenarios[scenario]();
const began = Date.now();
await client.close();
assert.ok(Date.now() - began < 1900, 'it did not end with its input');
assert.deepEqual(errors, []);
console.log('all is well');
