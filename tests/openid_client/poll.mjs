// openid-client, unmodified, as a CIBA client: discovery, private_key_jwt, a request, polling, the ID token checked.
import * as client from 'openid-client'
import { createInterface } from 'node:readline'

const input = JSON.parse((await createInterface({ input: process.stdin })[Symbol.asyncIterator]().next()).value)
const key = await crypto.subtle.importKey('jwk', input.key, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])
const config = await client.discovery(
  new URL(input.issuer), input.client_id, undefined,
  client.PrivateKeyJwt({ key, kid: input.key.kid }), { execute: [client.allowInsecureRequests] },
)
const asked = await client.initiateBackchannelAuthentication(config, {
  scope: 'openid', login_hint: input.login_hint, binding_message: 'From Node',
  authorization_details: JSON.stringify(input.authorization_details),
})
console.log(JSON.stringify({ asked }))
try {
  const tokens = await client.pollBackchannelAuthenticationGrant(config, asked)
  console.log(JSON.stringify({ tokens, claims: tokens.claims() }))
} catch (error) {
  console.log(JSON.stringify({ error: error.error, status: error.status }))
}
