"""Rules of this code base that ruff and import-linter do not know. `python -m lint` checks every Python file.

Owns: the rules (rules.py), each a function from a parsed file to problems, and the words that identifiers may not
use (vocabulary.py). Does not own: style and types (ruff, mypy), imports (import-linter). Each rule has tests in
tests/lint.
"""
