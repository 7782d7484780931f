// A real OpenID provider on loopback: `oidc-provider` with its own login and consent pages.
// usage: node provider.mjs   with REDIRECTS (JSON: list of redirect addresses) in the environment
// Prints one JSON line {"issuer": …} once it listens; ends when standard input does.
// Whoever types a name at its login page is that account; "…-unverified" has an email address nobody checked,
// "…-silent" has its email address only at the userinfo endpoint's mercy: none in any token.

import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const redirects = JSON.parse(process.env.REDIRECTS);
const client = (client_id, more) => ({
  client_id,
  redirect_uris: redirects,
  response_types: ['code'],
  grant_types: ['authorization_code'],
  ...more,
});

const server = createServer();
server.listen(0, '127.0.0.1', async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      client('basic', { client_secret: 'a secret: with % signs & more', token_endpoint_auth_method: 'client_secret_basic' }),
      client('post', { client_secret: 'posted-secret-of-thirty-two-chars', token_endpoint_auth_method: 'client_secret_post' }),
      client('public', { token_endpoint_auth_method: 'none' }),
      client('es256', { client_secret: 'es256-secret-of-thirty-two-chars!', id_token_signed_response_alg: 'ES256' }),
    ],
    cookies: { keys: ['only for tests'] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'] },
    conformIdTokenClaims: process.env.CONFORM === '1',
    features: { devInteractions: { enabled: true } },
    pkce: { required: () => true },
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'none'],
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({
        sub: id,
        ...(id.endsWith('-silent') ? {} : { email: `${id}@example.org`, email_verified: !id.endsWith('-unverified') }),
      }),
    }),
    jwks: { keys: await keys() },
  });
  server.on('request', provider.callback());
  console.log(JSON.stringify({ issuer }));
});

async function keys() {
  const { generateKeyPair, exportJWK } = await import('jose');
  const made = [];
  for (const alg of ['RS256', 'ES256']) {
    const { privateKey } = await generateKeyPair(alg, { extractable: true });
    made.push({ ...(await exportJWK(privateKey)), alg, use: 'sig', kid: alg });
  }
  return made;
}

process.stdin.on('end', () => process.exit(0)).resume();
