"""Callbacks: ping and push to an agent's notification endpoint (CIBA Core 10.2, 10.3).

Owns: the sealed data of a callback, its body, and sending it. Does not own: when a callback is due
(ciba/lifecycle/), and the outbox that retries it (foundation/outbox.py).

state.py      seals a callback's data in the request's row, and writes the outbox row
messages.py   the bodies of callbacks (CIBA Core 10.2, 10.3.1, 12; pure)
sender.py     the outbox handler: settles, sends and records one callback
"""
