// The TypeScript SDK's client: `node sdk.mjs enterprise|browser URL`. Prints
// {tools, who} as one line of JSON. Its parameters are in the environment.
import { createServer } from 'node:http';
import {
  Client,
  CrossAppAccessProvider,
  StreamableHTTPClientTransport,
  UnauthorizedError,
  discoverAndRequestJwtAuthGrant,
} from '@modelcontextprotocol/client';

const [flow, url] = process.argv.slice(2);
const env = process.env;

// enterprise: the person has signed in at the company's provider already.
function crossApp() {
  return new CrossAppAccessProvider({
    clientId: env.CLIENT_ID,
    clientSecret: env.CLIENT_SECRET,
    expectedIssuer: env.ISSUER,
    assertion: async (ctx) => {
      const got = await discoverAndRequestJwtAuthGrant({
        idpUrl: env.IDP,
        idToken: env.ID_TOKEN,
        clientId: env.IDP_CLIENT_ID,
        clientSecret: env.IDP_CLIENT_SECRET,
        audience: ctx.authorizationServerUrl,
        resource: ctx.resourceUrl,
        scope: ctx.scope,
        fetchFn: ctx.fetchFn,
      });
      return got.jwtAuthGrant;
    },
  });
}

// browser: what a program with a listener on loopback does, all in memory.
async function listener() {
  let arrived;
  const answer = new Promise((resolve) => (arrived = resolve));
  const server = createServer((req, res) => {
    const at = new URL(req.url, 'http://127.0.0.1');
    res.end('done');
    if (at.pathname === '/callback') arrived(at.searchParams);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { answer, redirectUrl: `http://127.0.0.1:${server.address().port}/callback`, close: () => server.close() };
}

function authorizationCode(redirectUrl) {
  const kept = {};
  return {
    redirectUrl,
    clientMetadataUrl: env.CLIENT_METADATA_URL || undefined,
    clientMetadata: {
      client_name: 'TypeScript SDK',
      redirect_uris: [redirectUrl],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    },
    state: () => (kept.state = crypto.randomUUID()),
    kept,
    clientInformation: () => kept.client,
    saveClientInformation: (client) => void (kept.client = client),
    tokens: () => kept.tokens,
    saveTokens: (tokens) => void (kept.tokens = tokens),
    saveCodeVerifier: (verifier) => void (kept.verifier = verifier),
    codeVerifier: () => kept.verifier,
    redirectToAuthorization: async (to) => {
      const res = await fetch(env.DOORWARD_TEST_BROWSER, { method: 'POST', body: to.href });
      if (!res.ok) throw new Error(await res.text());
    },
  };
}

async function connect(authProvider) {
  const client = new Client({ name: 'interop', version: '1' });
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider });
  try {
    await client.connect(transport);
  } catch (err) {
    return { transport, err };
  }
  return { client };
}

async function signedIn() {
  if (flow === 'enterprise') {
    const { client, err } = await connect(crossApp());
    if (err) throw err;
    return client;
  }
  const back = await listener();
  const provider = authorizationCode(back.redirectUrl);
  const first = await connect(provider);
  if (!(first.err instanceof UnauthorizedError)) throw first.err ?? new Error('no sign-in was asked for');
  const params = await back.answer;
  back.close();
  if (params.get('state') !== provider.kept.state) throw new Error('another state came back');
  await first.transport.finishAuth(params);
  const { client, err } = await connect(provider);
  if (err) throw err;
  return client;
}

const client = await signedIn();
const { tools } = await client.listTools();
const { structuredContent } = await client.callTool({ name: 'whoami', arguments: {} });
console.log(JSON.stringify({ tools: tools.map((t) => t.name), who: structuredContent }));
await client.close();
