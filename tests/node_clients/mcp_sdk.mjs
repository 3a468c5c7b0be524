// The MCP TypeScript SDK's client, unmodified. It calls the tools that the test names, and tells where it sends the
// browser; what it does in between (discovery, registration, PKCE, `resource`, refreshing) is the SDK's own.
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { hear, tell } from './talk.mjs'

const input = await hear()
const kept = {}
const authProvider = {
  redirectUrl: input.redirect_uri,
  clientMetadata: {
    client_name: 'A tool client', redirect_uris: [input.redirect_uri],
    grant_types: input.grant_types, token_endpoint_auth_method: 'none',
  },
  state: () => (kept.state = crypto.randomUUID()),
  clientInformation: () => kept.client,
  saveClientInformation: (client) => { kept.client = client },
  tokens: () => kept.tokens,
  saveTokens: (tokens) => { kept.tokens = tokens },
  saveCodeVerifier: (verifier) => { kept.verifier = verifier },
  codeVerifier: () => kept.verifier,
  redirectToAuthorization: (url) => tell({ authorize: url }),
}

let transport
// Where the SDK sent the browser, `act` begins anew once it is back.
async function consented(act) {
  try {
    return await act()
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error
    const arrived = new URL((await hear()).arrived).searchParams
    if (arrived.get('state') !== kept.state) throw new Error('another state came back')
    await transport.finishAuth(arrived.get('code'))
    return act()
  }
}

const client = await consented(async () => {
  transport = new StreamableHTTPClientTransport(new URL(input.url), { authProvider })
  const client = new Client({ name: 'a tool client', version: '1' })
  await client.connect(transport)
  return client
})
for (;;) {
  const { tool, parameters } = await hear()
  if (!tool) break
  try {
    const { content } = await consented(() => client.callTool({ name: tool, arguments: parameters }))
    tell({ text: content[0].text, tokens: kept.tokens, client_id: kept.client.client_id })
  } catch (error) {
    tell({ error: error.message })
  }
}
process.exit()
