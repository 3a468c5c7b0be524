"""Running the product on one machine: embedded PostgreSQL and Redis, and the supervisor of all processes.

Knows no Django: it prepares the environment in which Django's processes start.

processes.py   starting one process that dies with us, and ending it with all of its children
postgres.py    the embedded PostgreSQL
orders.py      the demo's database of orders on it, to lend accounts of
redis.py       the embedded Redis
supervisor.py  starts the table of processes, restarts what crashed, stops everything
up.py          `manage.py up`: checks, servers, migrations, processes, in this order
"""


class CannotStart(Exception):
    """Why nothing can be started: one sentence for the person at the terminal."""
