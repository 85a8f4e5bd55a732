// An authorization server of another maker, npm's oidc-provider, for an MCP server elsewhere: node idp.mjs PORT RESOURCE
// Whoever comes is signed in as ada. Clients register themselves.
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const [port, resource] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: [],
  cookies: { keys: ['for tests only'] },
  scopes: ['openid', 'offline_access', 'mcp'],
  pkce: { required: () => true },
  features: {
    devInteractions: { enabled: false },
    registration: { enabled: true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, asked) => {
        if (asked !== resource) throw new Error('another resource');
        return { scope: 'mcp', audience: resource, accessTokenTTL: 300, accessTokenFormat: 'jwt' };
      },
    },
  },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  // Consent is not what is tested.
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope('openid offline_access mcp');
    grant.addResourceScope(resource, 'mcp');
    await grant.save();
    return grant;
  },
});
const handle = provider.callback();
createServer(async (req, res) => {
  if (req.url.startsWith('/interaction/')) return provider.interactionFinished(req, res, { login: { accountId: 'ada' }, consent: {} });
  handle(req, res);
}).listen(Number(port), '127.0.0.1', () => console.log(`ready at ${issuer}`));
