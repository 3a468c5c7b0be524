"""The HTTP front: an ASGI application in front of Django's WSGI handler, on one port.

Owns: reading a request's body (bounded in size and time), Django's threads (a bounded pool with a
bounded queue), event streams and long polls, wake-ups from Redis, answers under overload, the
orderly shutdown. A waiting client holds no thread. Does not own: which answers a client may wait
for, and for how long. A view says that (foundation/pending_answers.py).

application.py  one request from its first byte to its last; the start and end of the process
exchange.py     ASGI outside, WSGI inside
pool.py         Django's threads
hub.py          clients that wait: wake-ups, and a regular check in case one is lost
streams.py      server-sent events
repeats.py      public documents that are sent again without Django
"""
