"""Configuration as a file: what administrators set up, exported to YAML and applied from YAML.

Owns: the format of the file, the difference between a file and the database, applying it. Does not
own: how an object is checked and saved (the models and the lifecycle modules of its app, which the
administration uses too), and the two commands (authserver/management/commands).

yaml_format.py         YAML with the line of each value; no tags, no aliases
problems.py            what is wrong with a file, and where (pure)
section.py             what every section has: fields, rows, checks, a save
sections/              the sections: resources to hint issuers
json_schema.py         the file's JSON Schema
document.py            a file that was read
differences.py         the difference between file and database (pure)
difference_text.py     the difference in words
secret_references.py   secrets from the environment or from files; for apply_config only
lifecycle.py           finding the difference, and applying it in one transaction
preflights.py          the preflights of changed backends, after the commit
export.py              the database as a file

A file is read in this order: YAML, JSON Schema, references between objects, then each object that
would change is checked like a form of the administration. Each step reports all its problems.
"""
