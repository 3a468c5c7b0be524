"""`python -m lint`: checks every Python and Markdown file that git knows. Exits with 1 where a rule is broken."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from lint.prose import check_prose
from lint.rules import Problem, check_source

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    listed = subprocess.run(["git", "ls-files", "*.py", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    paths = [path for path in listed.stdout.splitlines() if "/migrations/" not in path and (ROOT / path).is_file()]
    problems = [problem for path in paths for problem in _check(path, (ROOT / path).read_text())]
    sys.stdout.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


def _check(path: str, text: str) -> Iterable[Problem]:
    return check_prose(path, text) if path.endswith(".md") else check_source(path, text)


if __name__ == "__main__":
    sys.exit(main())
