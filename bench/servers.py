"""Starts our server and the peer, each on the core where it belongs."""

import os
import platform
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import node_peer
from cores import Cores, Meter, parent, pin
from ours import Ours
from parties import make_parties
from product import product, web_process

from runtime import postgres

SETTINGS = {
    "WEB_WORKERS": "1",
    "CIBA_MAX_PENDING_PER_USER": "100000",
    "CIBA_REQUEST_LIFETIME": "3600",
    "LEASES_MAX_PER_AGENT": "100000",
    "LEASES_MAX_PER_USER": "100000",
    "REGISTRATION_LIMIT": "1000000",
    "REGISTRATION_LIMIT_TOTAL": "1000000",
    "SESSION_ASSURANCE_AGE": "43200",
}


@dataclass(frozen=True)
class Servers:
    ours: Ours
    peer: node_peer.NodePeer | None
    cores: Cores | None  # None: nothing is pinned
    supervisor: int  # of all our processes, PostgreSQL and Redis included
    postmaster: int
    log: Path  # of PostgreSQL

    def meter(self, groups: Mapping[str, int]) -> Meter:
        """Without what the bench itself asks the database."""
        return Meter(groups, {self.ours.database.info.backend_pid}, self.cores)


def versions() -> str:
    """Of what is compared."""
    return f"ours on Python {platform.python_version()}, {node_peer.version()}"


@contextmanager
def servers(users: int, *, has_peer: bool, pinned: bool, **settings: str) -> Iterator[Servers]:
    """One core for our web process and for the peer, another one for everything else, this process included."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and everything that was started ends with us
    cores = Cores.find() if pinned else None
    if cores:
        pin([os.getpid()], cores.rest)
    with product(**SETTINGS | settings) as (url, data_dir, supervisor), ExitStack() as stack:
        import django

        django.setup()
        parties = make_parties(url.replace("127.0.0.1", "localhost").removeprefix("http://"), users)
        worker = web_process(supervisor.pid)
        ours = Ours(url, data_dir, worker, parties)
        peer = stack.enter_context(node_peer.started(data_dir, parties)) if has_peer else None
        if cores:
            pin([parent(worker), worker, *([peer.server] if peer else [])], cores.server)
        postmaster = int((postgres.cluster_of(data_dir) / "postmaster.pid").read_text().splitlines()[0])
        yield Servers(ours, peer, cores, supervisor.pid, postmaster, data_dir / "postgres.log")
