"""Who may ask: the agents (OAuth clients).

Owns: Agent (django-oauth-toolkit's Application, swapped), its keys and secrets, whom it may ask and for
what, and client authentication. Does not own: what may be asked (operations), the asking (oauth, ciba).

models.py           Agent, AgentSecret, PublishedKeys, AgentLink, SpentAssertion
keys.py             which JWK Sets we accept from agents
published_keys.py   the key sets that agents publish at an address of theirs: fetched, kept, fetched again
uris.py             which URIs a client may register (pure)
mutual_tls.py, certificates.py   the certificate of the connection; whose it is (pure)
profiles.py         what a profile demands: one table (pure)
replay.py           what may be sent once only
authentication.py   which agent sends this request: private_key_jwt, client_secret_basic,
                    client_secret_post, or a public client's word
redirects.py        where an agent may have a browser sent (pure)
asking.py           whom an agent may ask
client_metadata.py   what a client says of itself, read and judged (pure)
registering.py       agents that register themselves: RFC 7591, RFC 7592, and their rights
metadata_documents.py   Client ID Metadata Documents: fetched, kept, fetched again
views.py             POST /oidc/register, GET PUT DELETE /oidc/register/{client_id}
lifecycle.py        suspend, resume, link, unlink, secrets
"""
