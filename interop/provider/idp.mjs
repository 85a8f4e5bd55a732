// An OpenID provider of another maker, for the tests beside it: node idp.mjs PORT REDIRECT_URI…
// Whoever types a name is that person. POST /test/turn-keys and /test/forget (as an administrator would) are for the tests.
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';

const [port, ...redirects] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const page = (uid) => `<!doctype html><title>Another sign-in</title><form method="post" action="/interaction/${uid}">
<input type="text" name="login"><input type="password" name="password"><button type="submit">Sign in</button></form>`;
const gone = new Set();
let serial = 0, provider, handle;

function start() {
  const jwk = { ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), kid: `k${++serial}`, use: 'sig', alg: 'RS256' };
  provider = new Provider(issuer, {
    clients: [{ client_id: 'doorward', client_secret: 'a secret: of 100% the provider', redirect_uris: redirects,
      grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'] }],
    jwks: { keys: [jwk] }, cookies: { keys: ['for tests only'] }, acrValues: ['urn:gold'], pkce: { required: () => true },
    features: { devInteractions: { enabled: false }, claimsParameter: { enabled: true } },
    claims: { openid: ['sub', 'acr', 'amr', 'auth_time'], email: ['email', 'email_verified'], profile: ['name', 'groups'], acr: null, amr: null, auth_time: null },
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: true,
    findAccount: (ctx, id) => gone.has(id) ? undefined : { accountId: id, claims: () => ({ sub: id, name: id, email: `${id}@corp.example`, email_verified: true, groups: ['eng'] }) },
    // Consent is not what is tested.
    loadExistingGrant: async (ctx) => {
      const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope('openid email profile');
      grant.addOIDCClaims(['acr', 'amr', 'auth_time']);
      await grant.save();
      return grant;
    },
  });
  handle = provider.callback();
}

start();
createServer(async (req, res) => {
  const uid = req.url.match(/^\/interaction\/([\w-]+)$/)?.[1];
  let body = '';
  if (uid && req.method === 'GET') return res.setHeader('content-type', 'text/html').end(page(uid));
  if (req.url.startsWith('/test/') || uid) for await (const chunk of req) body += chunk;
  if (req.url === '/test/turn-keys') return start(), res.end();
  if (req.url === '/test/forget') return gone.add(body), res.end();
  if (!uid) return handle(req, res);
  await provider.interactionFinished(req, res, { login: { accountId: new URLSearchParams(body).get('login'), acr: 'urn:gold', amr: ['pwd', 'otp'] } });
}).listen(Number(port), '127.0.0.1', () => console.log(`ready at ${issuer}`));
