// The peer of `make bench`: oidc-provider with our issuer, our paths and our agents, so that it gets the same requests.
//
// Its agents and users are in memory, as its documentation shows; ours are in PostgreSQL. Paths below /internal make
// what a round needs (codes, refresh tokens, open requests), and give a user's answer to a backchannel request.

import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { exportJWK, generateKeyPair } from "jose";
import pg from "pg";
import Provider from "oidc-provider";
import { createTable, makeAdapter } from "./adapter.mjs";

const settings = JSON.parse(readFileSync(process.argv[2]));
const pool = new pg.Pool({ connectionString: settings.database, max: 16 });
await createTable(pool);

async function makeKey(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), alg, use: "sig" };
}

const { resource } = settings;
const provider = new Provider(settings.issuer, {
  adapter: makeAdapter(pool),
  clients: settings.clients,
  clientDefaults: { id_token_signed_response_alg: "ES256" },
  cookies: { keys: [randomBytes(32).toString("hex")] },
  jwks: { keys: await Promise.all(["ES256", "RS256"].map(makeKey)) },
  scopes: ["openid", "offline_access", ...resource.scope.split(" ")],
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  rotateRefreshToken: true, // as ours
  pkce: { required: () => true },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    registration: { enabled: true },
    registrationManagement: { enabled: true },
    // `requireNonce` as ours: a proof must carry the server's nonce.
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource.identifier,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: resource.scope,
        audience: resource.identifier,
        accessTokenFormat: "jwt",
        accessTokenTTL: 300,
        jwt: { sign: { alg: "ES256" } },
      }),
    },
    ciba: {
      enabled: true,
      deliveryModes: ["poll", "ping"],
      processLoginHint: (_, hint) => hint,
      verifyUserCode: () => {},
      validateBindingMessage: () => {},
      validateRequestContext: () => {},
      triggerAuthenticationDevice: () => {},
    },
  },
  routes: {
    token: "/oauth/token",
    introspection: "/oauth/introspect",
    backchannel_authentication: "/bc-authorize",
    registration: "/oidc/register",
    jwks: "/.well-known/jwks.json",
    userinfo: "/userinfo",
  },
  ttl: {
    AccessToken: 300,
    AuthorizationCode: 600,
    BackchannelAuthenticationRequest: 3600,
    ClientCredentials: 300,
    Grant: 90 * 86400,
    IdToken: 300,
    RefreshToken: 14 * 86400,
  },
});

async function makeGrant(client, accountId, scope) {
  const grant = new provider.Grant({ accountId, clientId: client.clientId });
  grant.addOIDCScope(scope);
  if (hasResource(scope)) grant.addResourceScope(resource.identifier, resource.scope);
  await grant.save();
  return grant;
}

const hasResource = (scope) => scope.split(" ").some((name) => resource.scope.split(" ").includes(name));

/** What a code, a refresh token and a backchannel request have in common. */
async function makeSource(clientId, accountId, scope) {
  const client = await provider.Client.find(clientId);
  const authTime = Math.floor(Date.now() / 1000);
  return { client, accountId, scope, authTime, ...(hasResource(scope) && { resource: resource.identifier }) };
}

const MAKERS = {
  async code({ client_id, user, scope, redirect_uri, code_challenge }) {
    const source = await makeSource(client_id, user, scope);
    const { jti: grantId } = await makeGrant(source.client, user, scope);
    const bindings = { redirectUri: redirect_uri, codeChallenge: code_challenge, codeChallengeMethod: "S256" };
    return new provider.AuthorizationCode({ ...source, grantId, ...bindings }).save();
  },

  async refresh_token({ client_id, user, scope }) {
    const source = await makeSource(client_id, user, scope);
    const { jti: grantId } = await makeGrant(source.client, user, scope);
    return new provider.RefreshToken({ ...source, grantId, gty: "authorization_code" }).save();
  },

  async auth_req_id({ client_id, user, scope }) {
    const source = await makeSource(client_id, user, scope);
    return new provider.BackchannelAuthenticationRequest({ ...source, params: { scope } }).save();
  },

  async approval({ auth_req_id }) {
    const request = await provider.BackchannelAuthenticationRequest.find(auth_req_id);
    const client = await provider.Client.find(request.clientId);
    const grant = await makeGrant(client, request.accountId, request.scope);
    const authTime = Math.floor(Date.now() / 1000);
    await provider.backchannelResult(request, grant, { acr: "session", amr: ["pwd"], authTime });
    return "approved";
  },
};

/** POST /internal/<what>: a list of parameters; the list of what was made. */
async function make(request, response) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const maker = MAKERS[request.url.split("/").pop()];
  const made = await Promise.all(JSON.parse(Buffer.concat(chunks)).map(maker));
  const body = JSON.stringify(made);
  response.writeHead(200, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
  response.end(body);
}

const answer = provider.callback();
const server = createServer((request, response) => {
  if (!request.url.startsWith("/internal/")) return answer(request, response);
  return make(request, response).catch((error) => {
    console.error(error);
    response.writeHead(500, { "Content-Length": 0 });
    response.end();
  });
});
server.listen(settings.port, "127.0.0.1", () => console.log("ready"));
