// mcpAuthRouter and requireBearerAuth of the TypeScript SDK, with the provider of its own example and
// what that lacks, refresh tokens: node --expose-gc sdk.mjs
import { randomUUID } from 'node:crypto';
import { serve } from './control.mjs';
import express from 'express';
import { mcpAuthRouter } from '@modelcontextprotocol/sdk/server/auth/router.js';
import { requireBearerAuth } from '@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js';
import { InvalidGrantError } from '@modelcontextprotocol/sdk/server/auth/errors.js';
import { DemoInMemoryAuthProvider } from '@modelcontextprotocol/sdk/examples/server/demoInMemoryOAuthProvider.js';

class InMemoryAuthProvider extends DemoInMemoryAuthProvider {
  refreshTokens = new Map();

  withRefreshToken(client, tokens) {
    const refresh_token = randomUUID();
    this.refreshTokens.set(refresh_token, { clientId: client.client_id, scopes: tokens.scope.split(' ') });
    return { ...tokens, refresh_token };
  }

  async exchangeAuthorizationCode(client, code, verifier) {
    return this.withRefreshToken(client, await super.exchangeAuthorizationCode(client, code, verifier));
  }

  async exchangeRefreshToken(client, refreshToken) {
    const granted = this.refreshTokens.get(refreshToken);
    if (granted?.clientId !== client.client_id) throw new InvalidGrantError('Invalid refresh token');
    this.refreshTokens.delete(refreshToken);
    const token = randomUUID();
    this.tokens.set(token, { token, clientId: client.client_id, scopes: granted.scopes, expiresAt: Date.now() + 3600000, type: 'access' });
    return this.withRefreshToken(client, { access_token: token, token_type: 'bearer', expires_in: 3600, scope: granted.scopes.join(' ') });
  }
}

await serve('@modelcontextprotocol/sdk', async (base) => {
  const provider = new InMemoryAuthProvider();
  await provider.clientsStore.registerClient({
    client_id: 'desktop', client_secret: 'a-secret-of-the-bench-0123456789', redirect_uris: ['http://127.0.0.1/callback'],
    grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], token_endpoint_auth_method: 'client_secret_post',
  });
  const unlimited = { rateLimit: false };
  return express()
    .use(mcpAuthRouter({
      provider, issuerUrl: new URL(base), scopesSupported: ['use'],
      authorizationOptions: unlimited, tokenOptions: unlimited, clientRegistrationOptions: unlimited, revocationOptions: unlimited,
    }))
    .get('/guarded', requireBearerAuth({ verifier: provider }), (req, res) => res.send(req.auth.clientId));
});
