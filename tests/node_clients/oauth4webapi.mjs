// oauth4webapi, unmodified: the same way as openid_client.mjs, request by request, and optionally with DPoP.
import * as oauth from 'oauth4webapi'
import { hear, tell } from './talk.mjs'

const input = await hear()
const http = { [oauth.allowInsecureRequests]: true }
const issuer = new URL(input.issuer)
const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, http))
const { privateKey, publicKey } = await oauth.generateKeyPair('ES256', { extractable: true })
const kid = 'the-only-key'
const jwk = { ...(await crypto.subtle.exportKey('jwk', publicKey)), kid, use: 'sig', alg: 'ES256' }
const client = await oauth.processDynamicClientRegistrationResponse(await oauth.dynamicClientRegistrationRequest(as, {
  client_name: 'oauth4webapi', redirect_uris: [input.redirect_uri], grant_types: input.grant_types,
  token_endpoint_auth_method: 'private_key_jwt', id_token_signed_response_alg: input.id_token_algorithm,
  dpop_bound_access_tokens: input.dpop, jwks: { keys: [jwk] },
}, http))
const auth = oauth.PrivateKeyJwt({ key: privateKey, kid })
const proving = input.dpop ? { ...http, DPoP: oauth.DPoP(client, await oauth.generateKeyPair('ES256')) } : http

// RFC 9449 8: the first answer of a server may be a nonce; the library remembers it, and its caller asks again.
async function twice(request, process) {
  try {
    return await process(await request())
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error
    return process(await request())
  }
}
const userinfo = (token, sub) => twice(
  () => oauth.userInfoRequest(as, client, token, proving),
  (response) => oauth.processUserInfoResponse(as, client, sub, response),
)

const verifier = oauth.generateRandomCodeVerifier()
const [state, nonce] = [oauth.generateRandomState(), oauth.generateRandomNonce()]
const url = new URL(as.authorization_endpoint)
url.search = new URLSearchParams({
  client_id: client.client_id, redirect_uri: input.redirect_uri, response_type: 'code', scope: input.scope, state, nonce,
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
})
tell({ authorize: url })
const { arrived } = await hear()
const parameters = oauth.validateAuthResponse(as, client, new URL(arrived), state)
const tokens = await twice(
  () => oauth.authorizationCodeGrantRequest(as, client, auth, parameters, input.redirect_uri, verifier, proving),
  async (response) => {
    const result = await oauth.processAuthorizationCodeResponse(as, client, response, { expectedNonce: nonce, requireIdToken: true })
    await oauth.validateApplicationLevelSignature(as, response, http)
    return result
  },
)
const claims = oauth.getValidatedIdTokenClaims(tokens)
tell({ tokens, claims })
tell({ userinfo: await userinfo(tokens.access_token, claims.sub) })

const refresh = (token) => twice(
  () => oauth.refreshTokenGrantRequest(as, client, auth, token, proving),
  (response) => oauth.processRefreshTokenResponse(as, client, response),
)
const refreshed = await refresh(tokens.refresh_token)
tell({ tokens: refreshed, userinfo: await userinfo(refreshed.access_token, claims.sub) })

const asked = await oauth.processBackchannelAuthenticationResponse(as, client, await oauth.backchannelAuthenticationRequest(as, client, auth, {
  scope: 'openid', login_hint: input.login_hint, binding_message: 'From Node',
  authorization_details: JSON.stringify(input.authorization_details),
}, http))
tell({ asked })
let approved
while (!approved) {
  await new Promise((resolve) => setTimeout(resolve, asked.interval * 1000))
  try {
    approved = await twice(
      () => oauth.backchannelAuthenticationGrantRequest(as, client, auth, asked.auth_req_id, proving),
      (response) => oauth.processBackchannelAuthenticationGrantResponse(as, client, response),
    )
  } catch (error) {
    if (error.error !== 'authorization_pending') throw error
  }
}
tell({
  tokens: approved, claims: oauth.getValidatedIdTokenClaims(approved),
  userinfo: await userinfo(approved.access_token, claims.sub),
})

await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, refreshed.refresh_token, http))
try {
  await refresh(refreshed.refresh_token)
  tell({ after_revocation: 'a token' })
} catch (error) {
  tell({ after_revocation: error.error })
}
process.exit()
