"""`manage.py up`: the whole product on one machine, under one supervisor.

Owns: embedded PostgreSQL and Redis, the processes of the product, their order of start and stop.
Does not own: what the processes do. It knows no Django: it prepares the environment of Django's
processes.

up.py          `manage.py up`: checks, servers, migrations, processes, in this order
supervisor.py  starts a table of processes, restarts those that crash, stops all of them
processes.py   one process that ends with us, together with all of its children
patience.py    how long a start may take without progress
postgres.py    the embedded PostgreSQL
redis.py       the embedded Redis
install.py     `make` installs Python packages with it: pip, with one line of progress
orders.py      the demo's database of orders, from which the demo issues leases
"""


class CannotStart(Exception):
    """The product cannot start. The text is one sentence for the terminal."""
