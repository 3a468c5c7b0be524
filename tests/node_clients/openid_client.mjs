// openid-client, unmodified: it registers itself, goes through the code flow with PKCE, reads UserInfo, refreshes,
// asks by CIBA, and revokes. It checks what it gets by itself: `iss`, `state`, the ID token, the subject.
import * as client from 'openid-client'
import { hear, tell } from './talk.mjs'

const input = await hear()
const { privateKey, publicKey } = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify'])
const kid = 'the-only-key'
const config = await client.dynamicClientRegistration(
  new URL(input.issuer),
  {
    client_name: 'openid-client', redirect_uris: [input.redirect_uri], grant_types: input.grant_types,
    token_endpoint_auth_method: 'private_key_jwt', id_token_signed_response_alg: input.id_token_algorithm,
    jwks: { keys: [{ ...(await crypto.subtle.exportKey('jwk', publicKey)), kid, use: 'sig', alg: 'ES256' }] },
  },
  client.PrivateKeyJwt({ key: privateKey, kid }),
  { execute: [client.allowInsecureRequests] },
)
client.enableNonRepudiationChecks(config) // the signature of the ID token too, with our published keys

const verifier = client.randomPKCECodeVerifier()
const [state, nonce] = [client.randomState(), client.randomNonce()]
const url = client.buildAuthorizationUrl(config, {
  redirect_uri: input.redirect_uri, scope: input.scope, state, nonce,
  code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
})
tell({ authorize: url })
const { arrived } = await hear()
const tokens = await client.authorizationCodeGrant(config, new URL(arrived), {
  pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true,
})
const { sub } = tokens.claims()
tell({ tokens, claims: tokens.claims() })
tell({ userinfo: await client.fetchUserInfo(config, tokens.access_token, sub) })

const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token)
tell({ tokens: refreshed, userinfo: await client.fetchUserInfo(config, refreshed.access_token, sub) })

const asked = await client.initiateBackchannelAuthentication(config, {
  scope: 'openid', login_hint: input.login_hint, binding_message: 'From Node',
  authorization_details: JSON.stringify(input.authorization_details),
})
tell({ asked })
const approved = await client.pollBackchannelAuthenticationGrant(config, asked)
tell({
  tokens: approved, claims: approved.claims(),
  userinfo: await client.fetchUserInfo(config, approved.access_token, sub),
})

await client.tokenRevocation(config, refreshed.refresh_token)
try {
  await client.refreshTokenGrant(config, refreshed.refresh_token)
  tell({ after_revocation: 'a token' })
} catch (error) {
  tell({ after_revocation: error.error })
}
process.exit()
