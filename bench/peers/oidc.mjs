// oidc-provider with its adapter in memory and its pages for development: node --expose-gc oidc.mjs
import { generateKeyPairSync } from 'node:crypto';
import { serve } from './control.mjs';
import Provider, { errors } from 'oidc-provider';

const client_secret = 'a-secret-of-the-bench-0123456789';
const client = (client_id, grant_types, more) => ({
  client_id, client_secret, grant_types, token_endpoint_auth_method: 'client_secret_post', redirect_uris: [], response_types: [], ...more,
});
// A JWK from the start: export() of a key that was just made can wait for ever with the collector of Node.js 20.
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256', publicKeyEncoding: { format: 'jwk' }, privateKeyEncoding: { format: 'jwk' } });

await serve('oidc-provider', (base) => new Provider(base, {
  clients: [
    client('agent', ['client_credentials']),
    client('api', []),
    client('desktop', ['authorization_code', 'refresh_token'], { redirect_uris: ['http://127.0.0.1/callback'], response_types: ['code'] }),
  ],
  clientDefaults: { id_token_signed_response_alg: 'ES256' },
  jwks: { keys: [{ ...privateKey, alg: 'ES256', use: 'sig' }] },
  cookies: { keys: ['for the bench only'] },
  scopes: ['openid', 'offline_access', 'use'],
  routes: { authorization: '/authorize', token: '/token', registration: '/register', introspection: '/introspect' },
  features: {
    clientCredentials: { enabled: true }, devInteractions: { enabled: true }, registration: { enabled: true }, introspection: { enabled: true },
    resourceIndicators: {
      enabled: true, defaultResource: () => `${base}/mcp`, useGrantedResource: () => true,
      getResourceServerInfo: (ctx, asked) => {
        const format = { [`${base}/mcp`]: 'jwt', [`${base}/opaque`]: 'opaque' }[asked]; // it introspects no JWT
        if (!format) throw new errors.InvalidTarget();
        return { scope: 'use', accessTokenFormat: format, accessTokenTTL: 3600, jwt: { sign: { alg: 'ES256' } } };
      },
    },
  },
  issueRefreshToken: () => true, rotateRefreshToken: true,
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
}).callback());
