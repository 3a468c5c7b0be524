"""CIBA: the backchannel request, from POST /bc-authorize to its tokens.

Owns: POST /bc-authorize, the request's state machine, prompts and approvals, the CIBA grant at the
token endpoint, the user's inbox. Does not own: issuing tokens and grants (oauth), whom an agent may
ask (clients), operation types and their wording (operations).

states.py            the states and the table of transitions (pure)
poll_policy.py       what a poll answers (pure)
parameters.py        the parameters of a request (pure)
hints.py             parsing a hint (pure)
hint_resolution.py   finding the user whom a hint names
hint_tokens.py       login_hint_token from trusted issuers
policy.py            whether a request may be made, and whether an answer counts (pure)
repeats.py           Idempotency-Key: a repeated request gets the first answer
prompt_content.py    what a prompt shows; operations/wording.py renders the text
lifecycle/           the use cases of a request, one transaction each; only they write `state`
decisions.py         a signed-in user's answer to a prompt
callbacks/           ping and push to an agent's notification endpoint
token_grant.py       the CIBA grant of the token endpoint
endpoints.py         POST /bc-authorize
steps.py             the steps of POST /bc-authorize, in order: one table
attempt.py           a request on its way through the steps
pages.py             the user's inbox, prompts and agents
api.py, serializers.py   /v1/prompts: the endpoints, and what they answer
topics.py            what a client may wait for: a user's prompts, one request
event_stream.py      the stream of /v1/prompts/events, which tells an open inbox to reload
models.py, errors.py, admin.py   the tables; errors (CIBA Core 11, 13); the administration
"""
