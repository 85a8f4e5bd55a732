// An OpenID provider of another maker, for the tests beside it: node idp.mjs PORT REDIRECT_URI…
// It issues ID-JAGs by a token exchange that is written here, beside it. Whoever types a name is that person. POST /test/turn-keys and /test/forget (as an administrator would) are for the tests,
// and so is POST /test/shape {alg, encrypt, wrap, enc}: how later ID-JAGs look.
import { createServer } from 'node:http';
import { createPrivateKey, generateKeyPairSync, randomUUID } from 'node:crypto';
import { CompactEncrypt, CompactSign, SignJWT, importJWK } from 'jose';
import Provider, { errors } from 'oidc-provider';

const [port, ...redirects] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const page = (uid) => `<!doctype html><title>Another sign-in</title><form method="post" action="/interaction/${uid}">
<input type="text" name="login"><input type="password" name="password"><button type="submit">Sign in</button></form>`;
const gone = new Set();
const findAccount = (ctx, id) => gone.has(id) ? undefined : { accountId: id, claims: () => ({ sub: id, name: id, email: `${id}@corp.example`, email_verified: true, groups: ['eng'] }) };
let serial = 0, provider, handle, shape = {};
const type = (name) => `urn:ietf:params:oauth:token-type:${name}`;
const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange';

// idJAG exchanges an ID token or a refresh token of this provider for an ID-JAG (draft-ietf-oauth-identity-assertion-authz-grant section 4.3).
// Mallory is kept out; the client is called "agent" at every authorization server.
const idJAG = (provider, keys) => async (ctx) => {
  const { client, params } = ctx.oidc;
  if (params.requested_token_type !== type('id-jag') || !params.audience) throw new errors.InvalidRequest('this exchange is for ID-JAGs');
  let subject;
  if (params.subject_token_type === type('id_token')) {
    const { payload } = await provider.IdToken.validate(params.subject_token, client).catch(() => { throw new errors.InvalidGrant('ID token'); });
    if (payload.exp < Date.now() / 1000) throw new errors.InvalidGrant('ID token has ended');
    subject = payload.sub;
  } else if (params.subject_token_type === type('refresh_token')) {
    const held = await provider.RefreshToken.find(params.subject_token);
    if (held?.clientId !== client.clientId || held.consumed) throw new errors.InvalidGrant('refresh token');
    subject = held.accountId;
  } else throw new errors.InvalidRequest('subject_token_type');
  const account = findAccount(ctx, subject);
  if (!account) throw new errors.InvalidGrant('nobody');
  if (subject === 'mallory') throw new errors.AccessDenied('rule no-mallory');
  const { email, email_verified, groups } = account.claims();
  if (shape.alg) {
    ctx.body = { access_token: await shaped(keys[shape.alg], subject, params, groups), issued_token_type: type('id-jag'), token_type: 'N_A', expires_in: 60 };
    return;
  }
  const { privateKey, kid } = keys.RS256;
  const jag = await new SignJWT({ client_id: 'agent', resource: params.resource, scope: params.scope, email, email_verified, groups })
    .setProtectedHeader({ alg: 'RS256', kid, typ: 'oauth-id-jag+jwt' }).setIssuer(issuer).setSubject(subject).setAudience(params.audience)
    .setJti(randomUUID()).setIssuedAt().setExpirationTime('5m').sign(privateKey);
  ctx.body = { access_token: jag, issued_token_type: type('id-jag'), token_type: 'N_A', expires_in: 300, scope: params.scope };
};

// shaped is an ID-JAG that is as good as the others and looks like none of ours: another order of the header and of the claims, members that nobody knows, escapes and
// white space in the JSON, times with fractions, lists of one. With shape.encrypt, the URL of a key set, it is encrypted to the key there that is for shape.wrap.
async function shaped({ privateKey, kid }, sub, { audience, resource, scope }, groups) {
  const now = Date.now() / 1000, text = JSON.stringify({ nbf: now - 1, 'https://idp.example/department': { name: 'R&D', floor: 3 }, groups, azp: 'agent-idp', resource: [resource], scope,
    exp: now + 60.5, client_id: 'agent', ver: '2.0', iat: now, aud: [audience], sub, jti: randomUUID(), iss: issuer }, null, 1).replace('"sub"', '"s\\u0075b"');
  const signed = await new CompactSign(new TextEncoder().encode(text))
    .setProtectedHeader({ kid, 'x5t#S256': 'bm90IGEgY2VydGlmaWNhdGU', typ: 'application/OAUTH-ID-JAG+jwt', jku: `${issuer}/elsewhere`, alg: shape.alg }).sign(privateKey);
  if (!shape.encrypt) return signed;
  const { keys } = await (await fetch(shape.encrypt)).json(), to = keys.find((k) => k.use === 'enc' && k.alg === shape.wrap);
  return new CompactEncrypt(new TextEncoder().encode(signed)).setProtectedHeader({ cty: 'oauth-id-jag+jwt', enc: shape.enc, kid: to.kid, alg: shape.wrap }).encrypt(await importJWK(to));
}

const pairs = { RS256: ['rsa', { modulusLength: 2048 }], PS256: ['rsa', { modulusLength: 3072 }], EdDSA: ['ed25519'] };

function start() {
  const keys = {}, jwks = [];
  for (const [alg, [how, options]] of Object.entries(pairs)) {
    // Not export() of the key that was made: Node.js 20 can wait for ever there, when its collector runs at that moment.
    const key = generateKeyPairSync(how, { ...options, publicKeyEncoding: { format: 'jwk' }, privateKeyEncoding: { format: 'jwk' } }).privateKey, kid = `${alg}/${++serial}`;
    keys[alg] = { privateKey: createPrivateKey({ key, format: 'jwk' }), kid };
    jwks.push({ ...key, kid, use: 'sig', alg });
  }
  provider = new Provider(issuer, {
    clients: [{ client_id: 'doorward', client_secret: 'a secret: of 100% the provider', redirect_uris: redirects,
      grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'] },
    { client_id: 'agent-idp', client_secret: 'another secret: 100% the agent', redirect_uris: redirects,
      grant_types: ['authorization_code', 'refresh_token', exchange], response_types: ['code'] }],
    jwks: { keys: jwks }, cookies: { keys: ['for tests only'] }, acrValues: ['urn:gold'], pkce: { required: () => true },
    features: { devInteractions: { enabled: false }, claimsParameter: { enabled: true } },
    claims: { openid: ['sub', 'acr', 'amr', 'auth_time'], email: ['email', 'email_verified'], profile: ['name', 'groups'], acr: null, amr: null, auth_time: null },
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: true,
    ...(process.env.ACCESS_TOKEN_LIFE && { ttl: { AccessToken: Number(process.env.ACCESS_TOKEN_LIFE) } }),
    findAccount,
    // Consent is not what is tested.
    loadExistingGrant: async (ctx) => {
      const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope('openid email profile');
      grant.addOIDCClaims(['acr', 'amr', 'auth_time']);
      await grant.save();
      return grant;
    },
  });
  provider.registerGrantType(exchange, idJAG(provider, keys), ['requested_token_type', 'audience', 'resource', 'scope', 'subject_token', 'subject_token_type']);
  handle = provider.callback();
}

start();
createServer(async (req, res) => {
  const uid = req.url.match(/^\/interaction\/([\w-]+)$/)?.[1];
  let body = '';
  if (uid && req.method === 'GET') return res.setHeader('content-type', 'text/html').end(page(uid));
  if (req.url.startsWith('/test/') || uid) for await (const chunk of req) body += chunk;
  if (req.url === '/test/turn-keys') return start(), res.end();
  if (req.url === '/test/shape') return shape = JSON.parse(body), res.end();
  if (req.url === '/test/forget') return gone.add(body), res.end();
  if (!uid) return handle(req, res);
  await provider.interactionFinished(req, res, { login: { accountId: new URLSearchParams(body).get('login'), acr: 'urn:gold', amr: ['pwd', 'otp'] } });
}).listen(Number(port), '127.0.0.1', () => console.log(`ready at ${issuer}`));
