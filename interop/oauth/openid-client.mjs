// openid-client: `node openid-client.mjs`. Prints what it got as one line of JSON.
import * as client from 'openid-client';
import { confirmDevice, env, headers, initialize, listener, open, params, refused, signingKey } from './listener.mjs';

const discover = (id, auth) =>
  client.discovery(new URL(env.ISSUER), id, undefined, auth, { algorithm: 'oauth2', execute: [client.allowInsecureRequests] });
const config = await discover(env.CLIENT_ID, client.PrivateKeyJwt(await signingKey()));
const server = await discover(env.SERVER_ID, client.ClientSecretBasic(env.SERVER_SECRET));
const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'));

// code + PKCE + PAR + DPoP + private_key_jwt
const back = await listener();
const verifier = client.randomPKCECodeVerifier();
const state = client.randomState();
const to = await client.buildAuthorizationUrlWithPAR(
  config,
  {
    ...params,
    redirect_uri: back.redirectUri,
    state,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  },
  { DPoP },
);
await open(to.href);
const arrived = await back.answer;
back.close();
const tokens = await client.authorizationCodeGrant(config, arrived, { pkceCodeVerifier: verifier, expectedState: state }, undefined, { DPoP });

// The protected resource, by its key and without it.
const opened = await client.fetchProtectedResource(config, tokens.access_token, new URL(env.MCP), 'POST', initialize, new Headers(headers), { DPoP });
const asBearer = await fetch(env.MCP, {
  method: 'POST',
  headers: { ...Object.fromEntries(headers), authorization: `Bearer ${tokens.access_token}` },
  body: initialize,
});

// refresh, introspection, revocation
const second = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP });
const before = await client.tokenIntrospection(server, second.access_token);
const own = await client.tokenIntrospection(config, second.access_token);
await client.tokenRevocation(config, second.refresh_token);
const after = await client.tokenIntrospection(server, second.access_token);
const revoked = await refused(() => client.refreshTokenGrant(config, second.refresh_token, undefined, { DPoP }));

// device: it polls until the person has answered
const started = await client.initiateDeviceAuthorization(config, params);
let answered = false;
const polling = client.pollDeviceAuthorizationGrant(config, started, undefined, { DPoP }).finally(() => (answered = true));
await new Promise((resolve) => setTimeout(resolve, 100));
const pending = answered ? 'answered' : 'authorization_pending';
await confirmDevice(started.verification_uri_complete, started.user_code);
const device = await polling;

// Somebody else's key.
const forged = await discover(env.CLIENT_ID, client.PrivateKeyJwt((await client.randomDPoPKeyPair('ES256')).privateKey));
const stranger = await refused(() => client.tokenRevocation(forged, device.refresh_token));

console.log(
  JSON.stringify({
    token_type: tokens.token_type, scope: tokens.scope, opened: opened.status, bearer: asBearer.status,
    refreshed: second.access_token !== tokens.access_token && second.refresh_token !== tokens.refresh_token,
    active: before.active, subject: before.sub, client: before.client_id, bound: Boolean(before.cnf?.jkt), own: own.active,
    after: after.active, revoked, pending, device: device.token_type, stranger,
  }),
);
