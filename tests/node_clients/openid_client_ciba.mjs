// openid-client, unmodified, as a CIBA client: discovery, private_key_jwt, a request, polling, the ID token checked.
import * as client from 'openid-client'
import { hear, tell } from './talk.mjs'

const input = await hear()
const key = await crypto.subtle.importKey('jwk', input.key, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])
const config = await client.discovery(
  new URL(input.issuer), input.client_id, undefined,
  client.PrivateKeyJwt({ key, kid: input.key.kid }), { execute: [client.allowInsecureRequests] },
)
const asked = await client.initiateBackchannelAuthentication(config, {
  scope: 'openid', login_hint: input.login_hint, binding_message: 'From Node',
  authorization_details: JSON.stringify(input.authorization_details),
})
tell({ asked })
try {
  const tokens = await client.pollBackchannelAuthenticationGrant(config, asked)
  tell({ tokens, claims: tokens.claims() })
} catch (error) {
  tell({ error: error.error, status: error.status })
}
process.exit()
