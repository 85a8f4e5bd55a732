// oidc-provider with its pages for development, and PKCE left to the client: node oidc.mjs PORT
import Provider, { errors } from 'oidc-provider';

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const resource = `${issuer}/mcp`;
new Provider(issuer, {
  cookies: { keys: ['for tests only'] }, pkce: { required: () => false }, scopes: ['openid', 'offline_access', 'mcp:read', 'mcp:write'],
  features: {
    devInteractions: { enabled: true }, registration: { enabled: true }, revocation: { enabled: true }, introspection: { enabled: true },
    resourceIndicators: { enabled: true, defaultResource: () => resource, useGrantedResource: () => true,
      getResourceServerInfo: (ctx, asked) => {
        if (asked !== resource) throw new errors.InvalidTarget();
        return { scope: 'mcp:read mcp:write', accessTokenFormat: 'jwt', accessTokenTTL: 900 };
      } },
  },
  issueRefreshToken: () => true, rotateRefreshToken: true,
  clientDefaults: { grant_types: ['authorization_code', 'refresh_token'] },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
}).listen(port, '127.0.0.1', () => console.log(`ready at ${issuer}`));
