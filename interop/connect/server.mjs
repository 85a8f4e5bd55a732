// A server of the wire without sessions, made with @modelcontextprotocol/server: node server.mjs PORT
import { createServer } from 'node:http';
import { McpServer, createMcpHandler, fromJsonSchema, inputRequired } from '@modelcontextprotocol/server';
import { toNodeHandler } from '@modelcontextprotocol/node';

const schema = (properties) => fromJsonSchema({ type: 'object', properties });
const said = (text) => ({ content: [{ type: 'text', text }] });

function make() {
  const server = new McpServer({ name: 'small', version: '1' });
  server.registerTool('add', { inputSchema: schema({ a: { type: 'integer', 'x-mcp-header': 'First' }, b: { type: 'integer' } }) }, async ({ a, b }) => said(String(a + b)));
  server.registerTool('walk', { inputSchema: schema({ steps: { type: 'integer' }, echo: { type: 'string' } }) }, async ({ steps, echo }, ctx) => {
    for (let progress = 1; progress <= steps; progress++) {
      await ctx.mcpReq.notify({ method: 'notifications/progress', params: { progressToken: ctx.mcpReq._meta?.progressToken, progress } });
    }
    return said(echo ?? 'there');
  });
  server.registerTool('hang', { inputSchema: schema({}) }, async (_, ctx) => {
    await ctx.mcpReq.notify({ method: 'notifications/progress', params: { progressToken: ctx.mcpReq._meta?.progressToken, progress: 1 } });
    await new Promise((resolve) => ctx.mcpReq.signal.addEventListener('abort', resolve));
    console.log('the hanging call was cancelled');
    return said('too late');
  });
  server.registerTool('ask', { inputSchema: schema({}) }, async (_, ctx) => {
    const given = ctx.mcpReq.inputResponses;
    if (!given) {
      return inputRequired({
        requestState: 'state-1',
        inputRequests: {
          what: inputRequired.createMessage({ messages: [{ role: 'user', content: { type: 'text', text: 'what?' } }], maxTokens: 10 }),
          who: inputRequired.elicit({ message: 'who?', requestedSchema: { type: 'object', properties: { name: { type: 'string' } } } }),
        },
      });
    }
    return said(`${given.what.content.text}, ${given.who.content.name}`);
  });
  return server;
}

const port = Number(process.argv[2]);
createServer(toNodeHandler(createMcpHandler(make, { legacy: 'reject' }))).listen(port, '127.0.0.1', () => console.log('ready'));
