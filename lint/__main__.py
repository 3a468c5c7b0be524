"""`python -m lint`: checks every Python file that git knows. Exits with 1 where a rule is broken."""

import subprocess
import sys
from pathlib import Path

from lint.rules import check_source

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    paths = [path for path in listed.stdout.splitlines() if "/migrations/" not in path and (ROOT / path).is_file()]
    problems = [problem for path in paths for problem in check_source(path, (ROOT / path).read_text())]
    sys.stdout.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
