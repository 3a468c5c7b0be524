"""The ASGI front: one port, on which everything is Django's, and what waits holds no thread.

Owns: the request's body (bounded in size and time), Django's threads (a bounded pool with a bounded queue), event
streams and held answers, wake-ups from Redis, what is answered under overload, and the orderly end. Does not own:
who may wait, for what and for how long, which a view says (foundation/waiting.py).

application.py  one request from its first byte to its last; the process's start and end
exchange.py     ASGI on the outside, WSGI on the inside
pool.py         Django's threads
hub.py          who waits for what: wake-ups, and reading again in case one was lost
streams.py      an answer that stays open
"""
