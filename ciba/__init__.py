"""From asking to token: the backchannel request and its one state machine.

Owns: POST /bc-authorize, the request's life, the prompts put to people and their answers, the CIBA grant
at the token endpoint, the person's pages. Does not own: minting and grants (oauth), who may be asked
(clients), what an operation is and how it reads (operations).

states.py       the states and the table of transitions (pure)
polling.py      what a poll answers (pure)
parameters.py   reading the request's parameters (pure)
hints.py        whom a hint names (pure); finding.py finds them; hint_tokens.py reads trusted issuers' tokens
policy.py       may this be asked, and may this answer count (pure)
repeats.py      Idempotency-Key: one request however often it is sent
wording in      operations/wording.py; showing.py composes what a person is shown
lifecycle.py    open, approve, deny, redeem, deliver, cancel, expire, stop; the only module that writes `state`
delivery.py     what is owed to an agent that is called back, and what is kept sealed for it
payloads.py     what it is sent (pure)
sending.py      calling it: ping and push
grant.py        the CIBA grant of the token endpoint
views.py        POST /bc-authorize
pages.py        the person's pages: inbox, prompt, agents
api.py          /v1/prompts
watching.py     what may be waited for: a person's prompts, one request
events.py       /v1/prompts/events, which tells an open inbox to look again
"""
