// An OpenID provider for the live tests, on npm `oidc-provider`: `PORT=… ISSUER=… node provider.mjs`
//
// Each client gets access tokens (RFC 9068) signed with the algorithm in its name, as `kest-rs256` with `kest-rs256-secret`.
// The audience is the resource that it asks for (RFC 8707); `urn:kest` stands for `kest`.
//
//   POST /token         the provider's own endpoint
//   POST /_lab/token    {"client","resource","ttl","jkt","user","act"}: a token that lives for `ttl` seconds, is bound to a
//                       key, or is of a user on whose behalf the client acts (RFC 8693 §4.1)
//   POST /_lab/rotate   new keys, published before the old ones
//   POST /_lab/drop-old only the newest keys are published from now on
import http from 'node:http';
import { exportJWK, generateKeyPair } from 'jose';
import * as oidc from 'oidc-provider';

const port = Number(process.env.PORT);
const issuer = process.env.ISSUER ?? `http://127.0.0.1:${port}`;
const algorithms = ['ES256', 'EdDSA', 'RS256', 'PS256'];

const resourceServer = (resource, client) => ({
  audience: resource === 'urn:kest' ? 'kest' : resource,
  scope: '',
  accessTokenFormat: 'jwt',
  accessTokenTTL: 120,
  jwt: { sign: { alg: algorithms.find((alg) => client.clientId === clientId(alg)) } },
});

let generation = 0;
let keys = [];
let provider;
let answer;

async function rotate() {
  generation += 1;
  const made = algorithms.map(async (alg) => {
    const { privateKey } = await generateKeyPair(alg, { extractable: true });
    return { ...(await exportJWK(privateKey)), kid: `${alg}-${generation}`, alg, use: 'sig' };
  });
  keys = [...(await Promise.all(made)), ...keys];
  serve();
}

function serve() {
  provider = new oidc.Provider(issuer, {
    jwks: { keys },
    clients: algorithms.map((alg) => ({
      client_id: clientId(alg),
      client_secret: `${clientId(alg)}-secret`,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      token_endpoint_auth_method: 'client_secret_basic',
    })),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'urn:kest',
        getResourceServerInfo: (_, resource, client) => resourceServer(resource, client),
      },
    },
    extraTokenClaims: (_, token) => token.extra,
  });
  provider.on('server_error', (_, error) => console.error(error));
  provider.on('grant.error', (_, error) => console.error(error.message, error.error_description));
  answer = provider.callback();
}

async function token({ client: id, resource = 'urn:kest', ttl, jkt, user, act }) {
  const client = await provider.Client.find(id);
  const token = user ? await onBehalfOf(user, act, client) : new provider.ClientCredentials({ client, expiresIn: ttl });
  token.resourceServer = new provider.ResourceServer(resource, resourceServer(resource, client));
  if (jkt) token.setThumbprint('jkt', jkt);
  return token.save();
}

async function onBehalfOf(user, act, client) {
  const grant = new provider.Grant({ accountId: user, clientId: client.clientId });
  const extra = act && { act };
  return new provider.AccessToken({ accountId: user, client, grantId: await grant.save(), gty: 'lab', extra });
}

const clientId = (alg) => `kest-${alg.toLowerCase()}`;

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString() || '{}');
}

await rotate();
http
  .createServer(async (request, response) => {
    try {
      switch (`${request.method} ${request.url}`) {
        case 'POST /_lab/rotate':
          await rotate();
          return response.end();
        case 'POST /_lab/drop-old':
          keys = keys.slice(0, algorithms.length);
          serve();
          return response.end();
        case 'POST /_lab/token':
          return response.end(await token(await body(request)));
        default:
          return answer(request, response);
      }
    } catch (error) {
      console.error(error);
      response.statusCode = 500;
      return response.end();
    }
  })
  .listen(port, '127.0.0.1');
