// The authorization server of the TypeScript SDK with the provider of its own example: node sdk.mjs PORT
import express from 'express';
import { mcpAuthRouter } from '@modelcontextprotocol/sdk/server/auth/router.js';
import { DemoInMemoryAuthProvider } from '@modelcontextprotocol/sdk/examples/server/demoInMemoryOAuthProvider.js';

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const unlimited = { rateLimit: false };
express()
  .use(mcpAuthRouter({
    provider: new DemoInMemoryAuthProvider(), issuerUrl: new URL(issuer), scopesSupported: ['mcp:read', 'mcp:write'],
    authorizationOptions: unlimited, tokenOptions: unlimited, clientRegistrationOptions: unlimited, revocationOptions: unlimited,
  }))
  .listen(port, '127.0.0.1', () => console.log(`ready at ${issuer}`));
