// oauth4webapi: `node oauth4webapi.mjs`. Prints what it got as one line of JSON.
import * as oauth from 'oauth4webapi';
import { confirmDevice, env, headers, initialize, listener, open, params, refused, signingKey } from './listener.mjs';

const insecure = { [oauth.allowInsecureRequests]: true };
const issuer = new URL(env.ISSUER);
const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure }));
const client = { client_id: env.CLIENT_ID };
const auth = oauth.PrivateKeyJwt(await signingKey());
const DPoP = oauth.DPoP(client, await oauth.generateKeyPair('ES256'));
const bound = { DPoP, ...insecure };

// asked sends a request again with the nonce that the server wants.
async function asked(send, read) {
  try {
    return await read(await send());
  } catch (err) {
    if (!oauth.isDPoPNonceError(err)) throw err;
    return await read(await send());
  }
}

// code + PKCE + PAR + DPoP + private_key_jwt
const back = await listener();
const verifier = oauth.generateRandomCodeVerifier();
const state = oauth.generateRandomState();
const pushed = await asked(
  async () =>
    oauth.pushedAuthorizationRequest(
      as,
      client,
      auth,
      {
        ...params,
        response_type: 'code',
        redirect_uri: back.redirectUri,
        state,
        code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
      },
      bound,
    ),
  (res) => oauth.processPushedAuthorizationResponse(as, client, res),
);
const to = new URL(as.authorization_endpoint);
to.search = new URLSearchParams({ client_id: client.client_id, request_uri: pushed.request_uri });
await open(to.href);
const callback = oauth.validateAuthResponse(as, client, await back.answer, state);
back.close();
const redeem = () => oauth.authorizationCodeGrantRequest(as, client, auth, callback, back.redirectUri, verifier, bound);
const tokens = await asked(redeem, (res) => oauth.processAuthorizationCodeResponse(as, client, res));

// The protected resource, by its key and without it.
const call = (more) => oauth.protectedResourceRequest(tokens.access_token, 'POST', new URL(env.MCP), new Headers(headers), initialize, more);
const opened = await asked(() => call(bound), (res) => res.status);
const asBearer = await fetch(env.MCP, {
  method: 'POST',
  headers: { ...Object.fromEntries(headers), authorization: `Bearer ${tokens.access_token}` },
  body: initialize,
});

// refresh; its predecessor is spent once the successor was used
const refresh = (token, more) => () => oauth.refreshTokenGrantRequest(as, client, auth, token, { ...more });
const second = await asked(refresh(tokens.refresh_token, bound), (res) => oauth.processRefreshTokenResponse(as, client, res));

// introspection, by the resource server and by the client itself
const server = { client_id: env.SERVER_ID };
const inspect = async (as_, who, how, token) =>
  oauth.processIntrospectionResponse(as_, who, await oauth.introspectionRequest(as_, who, how, token, insecure));
const secret = oauth.ClientSecretBasic(env.SERVER_SECRET);
const before = await inspect(as, server, secret, second.access_token);
const own = await inspect(as, client, auth, second.access_token);

// revocation
await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, second.refresh_token, insecure));
const after = await inspect(as, server, secret, second.access_token);
const revoked = await refused(() =>
  asked(refresh(second.refresh_token, bound), (res) => oauth.processRefreshTokenResponse(as, client, res)));

// device
const started = await oauth.processDeviceAuthorizationResponse(
  as,
  client,
  await oauth.deviceAuthorizationRequest(as, client, auth, params, insecure),
);
const poll = () =>
  asked(
    () => oauth.deviceCodeGrantRequest(as, client, auth, started.device_code, bound),
    (res) => oauth.processDeviceCodeResponse(as, client, res),
  );
const pending = await refused(poll);
await confirmDevice(started.verification_uri_complete, started.user_code);
await new Promise((resolve) => setTimeout(resolve, 1000 * started.interval));
const device = await poll();

// Somebody else's key.
const forged = oauth.PrivateKeyJwt((await oauth.generateKeyPair('ES256')).privateKey);
const stranger = await refused(async () =>
  oauth.processRevocationResponse(await oauth.revocationRequest(as, client, forged, device.refresh_token, insecure)));

console.log(
  JSON.stringify({
    token_type: tokens.token_type, scope: tokens.scope, opened, bearer: asBearer.status,
    refreshed: second.access_token !== tokens.access_token && second.refresh_token !== tokens.refresh_token,
    active: before.active, subject: before.sub, client: before.client_id, bound: Boolean(before.cnf?.jkt), own: own.active,
    after: after.active, revoked, pending, device: device.token_type, stranger,
  }),
);
