"""The Django project: it imports every other package, and no package but runtime imports it.

Owns: settings, URLs, wiring, middleware, error pages, health, sweeps, the kill switch, logging,
configuration files, management commands, the WSGI, ASGI and Celery entry points. Does not own: any domain.

settings.py          the settings
variables.py         every variable of the environment: name, default, values, meaning
environment.py, addresses.py   reading variables; which hosts, addresses and proxies they may name
checks.py            the checks that refuse unsafe production settings
database_state.py    whether the database fits this version: migrations, rights
wiring.py            fills the tables that lower packages declare for upper ones
urls.py              every path of the server
request.py, middleware.py, forwarded.py     the request class, middleware, addresses from proxies
wsgi.py, asgi.py     what granian serves
handler.py           Django's handler, with a short way for protocol paths
celery.py, worker.py the Celery app
sweeps.py            what the sweeper does, and how often
health.py            /livez, /readyz, /metrics
prompt_preview.py    the prompt that an unsaved operation type or role would show
kill_switch.py       one action that stops an agent and ends everything that it holds
home/                the first page of the administration
staff_access.py      what each role of staff reaches in the administration: one table for a test and for the docs
admin.py, errors.py  the administration's site; answers for errors that nothing else handles
keyfiles.py, logs.py, demo.py               key files, logging, the demo's users and configuration (demo.yaml)
configuration/       configuration as a file: its format, export, and applying it in one transaction
generated_docs/      the documents that are written from the code
management/commands  apply_config, backup_check, export_config, migrate, prepare, recovery, rotate_keys,
                     rotate_push_key, seed_demo, sweeper, write_docs
"""
