"""`make bench`: requests per second of our server beside oidc-provider for Node (bench/peer), on the same work.

One core serves: our web process or the peer, in turn. The other has PostgreSQL, Redis, our worker and sweeper, and the
load (wrk). Both servers keep what they store in the same durable PostgreSQL. Every answer is checked, and a wrong one
ends the run.

A round is repeated when something else on the machine took more than a share of the two cores. CPU is that of the web
process, or the peer's, and of PostgreSQL. Percentiles are wrk's. SQL statements include BEGIN and COMMIT.

What differs: the peer has its agents and users in memory, writes no audit event, limits no rate, and introspects opaque
tokens, because it refuses JWTs there.
"""

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import statements
from load import Round, WrongAnswer, run
from parties import Side
from product import say
from scenarios import SCENARIOS, Scenario
from servers import Servers, servers, versions

FIRST = 600  # requests per second that the first warm-up expects
WARM_UP = 1.0  # seconds
MARGIN = 1.5  # times as many single-use values as the fastest round would have used
MAX_REPEATED = 5  # noisy rounds of each scenario and server


@dataclass
class Measured:
    """The rounds of one server in one scenario."""

    fastest: float = FIRST  # requests per second
    rounds: list[Round] = field(default_factory=list)
    web: list[float] = field(default_factory=list)  # CPU µs per request
    postgres: list[float] = field(default_factory=list)
    repeated: int = 0  # rounds that were too noisy
    noisy: int = 0  # of the rounds that count, too

    def figures(self) -> dict[str, float]:
        """Medians of the rounds."""
        return {
            "rate": median(one.rate for one in self.rounds),
            "p50": median(one.p50 for one in self.rounds),
            "p99": median(one.p99 for one in self.rounds),
            "web": median(self.web),
            "postgres": median(self.postgres),
            "repeated": self.repeated,
            "noisy": self.noisy,
        }


@dataclass(frozen=True)
class Bench:
    servers: Servers
    connections: int
    seconds: float
    noise: float  # share of the two cores

    def measure(self, scenario: Scenario, rounds: int) -> dict[str, Any]:
        """In each round both servers, one after the other."""
        sides: dict[str, Side] = {"ours": self.servers.ours}
        if self.servers.peer and not scenario.is_ours_only:
            sides["peer"] = self.servers.peer
        found = {name: Measured() for name in sides}
        if self.servers.cores:  # else nothing is measured, only tried
            for name, side in sides.items():
                self._warm_up(scenario, side, found[name])
        for _ in range(rounds):
            for name, side in sides.items():
                self._add_round(scenario, side, found[name])
        figures: dict[str, Any] = {name: one.figures() for name, one in found.items()}
        if "peer" in found:
            pairs = zip(found["ours"].rounds, found["peer"].rounds, strict=True)
            ratios = [ours.rate / theirs.rate for ours, theirs in pairs]
            figures["ratio"] = {"median": median(ratios), "min": min(ratios), "max": max(ratios)}
        return figures | {"statements": self._count_statements(scenario)}

    def _warm_up(self, scenario: Scenario, side: Side, measured: Measured) -> None:
        """Finds out how many requests a round needs."""
        for _ in range(2):
            done = run(scenario.make(side, self._needed(measured)), side.port, self.connections, WARM_UP)
            measured.fastest = max(measured.fastest, done.rate)

    def _needed(self, measured: Measured) -> int:
        return int(measured.fastest * self.seconds * MARGIN) + self.connections

    def _add_round(self, scenario: Scenario, side: Side, measured: Measured) -> None:
        """Once more while it is noisy."""
        while True:
            load = scenario.make(side, self._needed(measured))
            meter = self.servers.meter({"web": side.server, "postgres": self.servers.postmaster})
            done = run(load, side.port, self.connections, self.seconds)
            used = meter.stop()
            measured.fastest = max(measured.fastest, done.rate)
            is_noisy = used.foreign > self.noise
            if not is_noisy or measured.repeated == MAX_REPEATED:
                break
            measured.repeated += 1
        measured.noisy += is_noisy
        measured.rounds.append(done)
        count = max(done.count, 1)  # nothing may be answered in half a second of a busy machine
        measured.web.append(used.seconds["web"] / count * 1e6)
        measured.postgres.append(used.seconds["postgres"] / count * 1e6)

    def _count_statements(self, scenario: Scenario) -> int:
        ours = self.servers.ours
        load = scenario.make(ours, statements.REQUESTS)
        return statements.count(load, ours.port, ours.database, self.servers.log, ours.server)


HEAD = """
| scenario | ours/s | peer/s | ratio: median (min to max) | ours p50, p99 ms | peer p50, p99 ms | ours CPU µs | \
peer CPU µs | our statements |
|---|---|---|---|---|---|---|---|---|""".replace("\\\n", "")


def row(title: str, figures: dict[str, Any]) -> str:
    ours, peer, ratio = figures["ours"], figures.get("peer"), figures.get("ratio")
    cells = [
        title,
        f"{ours['rate']:,.0f}",
        f"{peer['rate']:,.0f}" if peer else "-",
        f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})" if ratio else "-",
        *(f"{one['p50']:.1f}, {one['p99']:.1f}" if one else "-" for one in (ours, peer)),
        *(f"{one['web']:,.0f} + {one['postgres']:,.0f}" if one else "-" for one in (ours, peer)),
        str(figures["statements"]),
    ]
    return f"| {' | '.join(cells)} |"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Requests per second beside oidc-provider for Node.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each round")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--noise", type=float, default=0.05, help="repeat rounds with more of it: share of the cores")
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--only", nargs="+", choices=[one.name for one in SCENARIOS], help="scenarios")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--smoke", action="store_true", help="whether everything works, in seconds, without the peer")
    options = parser.parse_args()
    if options.smoke:
        options.rounds, options.seconds, options.users = 1, 0.5, 50
    return options


def main() -> None:
    options = parse()
    chosen = [one for one in SCENARIOS if not options.only or one.name in options.only]
    found: dict[str, Any] = {}
    with servers(options.users, has_peer=not options.smoke, pinned=not options.smoke) as started:
        bench = Bench(started, options.connections, options.seconds, options.noise)
        if not options.smoke:
            say(f"{versions()}, {options.connections} connections, {options.rounds} rounds of {options.seconds:g} s")
        say(HEAD)
        for scenario in chosen:
            try:
                found[scenario.name] = bench.measure(scenario, options.rounds)
            except WrongAnswer as answer:
                raise SystemExit(f"{scenario.title}: a wrong answer: {answer}") from answer
            say(row(scenario.title, found[scenario.name]))
    say_noise(found, options.noise)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


def say_noise(found: dict[str, Any], limit: float) -> None:
    servers = [one[side] for one in found.values() for side in ("ours", "peer") if side in one]
    repeated, noisy = (sum(one[name] for one in servers) for name in ("repeated", "noisy"))
    if repeated:
        say(f"\n{repeated} rounds were repeated: something else took more than {limit:.0%} of the two cores.")
    if noisy:
        say(f"{noisy} rounds count although it did: do not rely on these figures.")


if __name__ == "__main__":
    main()
