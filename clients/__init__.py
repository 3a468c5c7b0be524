"""Agents (OAuth clients): who they are, how they authenticate, and whom they may ask.

Owns: Agent (django-oauth-toolkit's Application, swapped), its keys and secrets, what and whom it
may ask, client authentication, registration. Does not own: scopes and operation types (operations),
and the requests that agents make (oauth, ciba).

models.py            Agent, AgentSecret, PublishedKeys, AgentLink, SpentAssertion, registrations
agent_checks.py      whether a registration is complete and consistent
lookup.py            finds the agent that a client_id names
authentication.py    which agent sends a request: private_key_jwt, client_secret_basic,
                     client_secret_post, a certificate, or the client_id of a public client
keys.py              which JWK Sets agents may register
published_keys.py    key sets that agents publish at an address: fetched, stored, fetched again
mutual_tls.py, certificates.py   the certificate of the connection; the agent it belongs to (pure)
profiles.py          what a security profile demands of an agent and of its requests: one table (pure)
replay.py            values that an agent may send only once
uris.py, redirects.py   which URIs a client may register; matching a redirect URI (pure)
ending_certificates.py   agents whose registered certificate ends soon
reachable_users.py   the users whom an agent may ask
client_metadata.py   parsing and checking client metadata (pure)
registration.py      self-registration: RFC 7591, RFC 7592
defaults.py          what a self-registered agent may ask for, and whom
metadata_documents.py   Client ID Metadata Documents: fetched, stored, fetched again
control.py, names.py which changes need a proof of the old key; names that look alike (pure)
endpoints.py         POST /oidc/register, GET PUT DELETE /oidc/register/{client_id}
lifecycle.py         save, suspend, resume, link, unlink, reset, secrets; registrations checked again
agent_kinds.py, guided_registration.py   an administrator registers an agent step by step
handover.py          what the builder of an agent gets, and what an agent lacks
admin.py, errors.py  agents in the administration; errors of registration
"""
