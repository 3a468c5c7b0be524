"""`python -m runtime.install requirements/NAME.txt`: pip, with one line of progress. Standard library only."""

import subprocess
import sys
import time
from pathlib import Path

INTERVAL_S = 2.0  # between two lines where the output is no terminal
HELP = """\
pip could not install {file}. Its last lines are above.
If it could not reach the package index, check the network and run the command again.
If it could not build a package, install a compiler: apt-get install build-essential python3-dev"""


def main(file: str) -> int:
    total = sum(1 for line in Path(file).read_text().splitlines() if "==" in line)
    print(f"Installing {file}: {total} packages, once.", flush=True)  # noqa: T201
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    with subprocess.Popen(  # noqa: S603 - our own command line
        [*command, "--require-hashes", "-r", file], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        output = _follow(pip, total)
    if pip.returncode != 0:
        print("".join(output[-15:]) + HELP.format(file=file), file=sys.stderr)  # noqa: T201
    return pip.returncode


def _follow(pip: subprocess.Popen[str], total: int) -> list[str]:
    """Shows how far pip is, and returns what it printed."""
    lines: list[str] = []
    done, printed_at, is_terminal = 0, time.monotonic(), sys.stdout.isatty()
    for line in pip.stdout or ():
        lines.append(line)
        if line.startswith(("Collecting ", "Requirement already satisfied")):
            done += 1
        if is_terminal:
            step = "installing" if line.startswith("Installing") else f"{min(done, total)} of {total} fetched"
            print(f"\r  {step:<30}", end="", flush=True)  # noqa: T201
        elif time.monotonic() - printed_at > INTERVAL_S:
            printed_at = time.monotonic()
            print(f"  {min(done, total)} of {total} fetched", flush=True)  # noqa: T201
    if is_terminal:
        print("\r" + " " * 32, end="\r", flush=True)  # noqa: T201
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
