// What both drivers share: the parameters, which are in the environment, a
// listener on loopback, and the stand-in for a browser with a person at it.
import { createServer } from 'node:http';

export const env = process.env;
export const params = { scope: 'sample:read', resource: env.MCP };

// signingKey is the private key whose public half the server's file has.
export async function signingKey() {
  const jwk = JSON.parse(env.KEY);
  const key = await crypto.subtle.importKey('jwk', jwk, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign']);
  return { key, kid: jwk.kid };
}

export async function listener() {
  let arrived;
  const answer = new Promise((resolve) => (arrived = resolve));
  const server = createServer((req, res) => {
    const at = new URL(req.url, redirectUri);
    res.end('done');
    if (at.pathname === '/callback') arrived(at);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const redirectUri = `http://127.0.0.1:${server.address().port}/callback`;
  return { answer, redirectUri, close: () => server.close() };
}

async function post(path, body) {
  const res = await fetch(env.DOORWARD_TEST_BROWSER + path, { method: 'POST', body });
  if (!res.ok) throw new Error(await res.text());
}

export const open = (url) => post('/', url);
export const confirmDevice = (uri, code) => post('/device', JSON.stringify({ uri, code }));

export const initialize = JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'interop', version: '1' } },
});
export const headers = new Headers({ 'content-type': 'application/json', accept: 'application/json, text/event-stream' });

// refused is the error code of a request that must not succeed.
export async function refused(request) {
  try {
    await request();
  } catch (err) {
    return err.error ?? err.cause?.error ?? err.code ?? String(err);
  }
  return 'accepted';
}
