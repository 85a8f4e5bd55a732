// A client of an identity provider that is told of logouts: `node logout.mjs`.
// openid-client signs in, and jose checks what the client is told after that.
// Prints what it found as one line of JSON.
import { createServer } from 'node:http';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import * as client from 'openid-client';
import { env, listener, open, refused } from './listener.mjs';

let arrived;
const told = new Promise((resolve) => (arrived = resolve));
const door = createServer(async (req, res) => {
  let body = '';
  for await (const piece of req) body += piece;
  res.end();
  arrived({ method: req.method, kind: req.headers['content-type'], form: new URLSearchParams(body) });
});
await new Promise((resolve) => door.listen(env.DOOR, '127.0.0.1', resolve));

const config = await client.discovery(new URL(env.ISSUER), env.CLIENT_ID, undefined, client.ClientSecretBasic(env.CLIENT_SECRET), {
  execute: [client.allowInsecureRequests],
});
const back = await listener();
const verifier = client.randomPKCECodeVerifier();
const nonce = client.randomNonce();
const state = client.randomState();
await open(
  client.buildAuthorizationUrl(config, {
    scope: 'openid',
    redirect_uri: back.redirectUri,
    state,
    nonce,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  }).href,
);
const at = await back.answer;
back.close();
const tokens = await client.authorizationCodeGrant(config, at, { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce });
const id = tokens.claims();

const left = await fetch(env.DOORWARD_TEST_BROWSER + '/leave', { method: 'POST' });
if (!left.ok) throw new Error(await left.text());
const { method, kind, form } = await told;
door.close();

// OpenID Connect Back-Channel Logout 1.0, section 2.6.
const token = form.get('logout_token');
const meta = config.serverMetadata();
const keys = createRemoteJWKSet(new URL(meta.jwks_uri));
const rules = {
  issuer: meta.issuer,
  audience: env.CLIENT_ID,
  typ: 'logout+jwt',
  algorithms: meta.id_token_signing_alg_values_supported,
  maxTokenAge: '2 minutes',
  requiredClaims: ['iat', 'exp', 'jti', 'sub', 'sid', 'events'],
};
const { payload, protectedHeader } = await jwtVerify(token, keys, rules);
const [head, claims, signature] = token.split('.');
const other = Buffer.from(JSON.stringify({ ...payload, sub: 'somebody' })).toString('base64url');

console.log(
  JSON.stringify({
    method, kind, members: [...form.keys()],
    announced: meta.backchannel_logout_supported && meta.backchannel_logout_session_supported,
    typ: protectedHeader.typ, kid: Boolean(protectedHeader.kid),
    claims: Object.keys(payload).sort(), events: payload.events,
    same: payload.sub === id.sub && payload.sid === id.sid && payload.iss === id.iss,
    short: payload.exp - payload.iat <= 120,
    changed: await refused(() => jwtVerify([head, other, signature].join('.'), keys, rules)),
    as_id_token: await refused(() => jwtVerify(token, keys, { ...rules, typ: 'JWT' })),
    for_another: await refused(() => jwtVerify(token, keys, { ...rules, audience: 'another' })),
    id_token: await refused(() => jwtVerify(tokens.id_token, keys, rules)),
  }),
);
