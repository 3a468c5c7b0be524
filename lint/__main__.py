"""`python -m lint`: checks every Python file, page, script and Markdown file that git knows.

Exits with 1 if a rule is broken.
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from lint.prose import check_prose
from lint.rules import Problem, check_source, check_template

ROOT = Path(__file__).resolve().parent.parent
PATTERNS = ("*.py", "*.md", "templates/*.html", "templates/*.js", "static/*.js")


def main() -> int:
    command = ["git", "ls-files", *PATTERNS]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    paths = [path for path in listed.stdout.splitlines() if "/migrations/" not in path and (ROOT / path).is_file()]
    problems = [problem for path in paths for problem in _check(path, (ROOT / path).read_text())]
    sys.stdout.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


def _check(path: str, text: str) -> Iterable[Problem]:
    match Path(path).suffix:
        case ".md":
            return check_prose(path, text)
        case ".py":
            return check_source(path, text)
        case _:
            return check_template(path, text)


if __name__ == "__main__":
    sys.exit(main())
