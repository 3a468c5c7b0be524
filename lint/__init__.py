"""Rules of this code base that ruff and import-linter do not know. `python -m lint` checks every file.

Owns: the rules for code (rules.py), each a function from a parsed file to problems; the words that
identifiers may not use (vocabulary.py); the phrases that texts may not use (phrases.py); the rule
for Markdown (prose.py). Does not own: style and types (ruff, mypy), imports (import-linter). Each
rule has tests in tests/lint.
"""
