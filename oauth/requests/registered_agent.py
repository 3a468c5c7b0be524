"""Whether an agent may ask for anything: its registration meets the demands of its profile."""

from clients.models import Agent
from oauth.errors import UnauthorizedClient


def check_registration(agent: Agent) -> None:
    """Raises UnauthorizedClient. Reads the stored verdict, without a query (Agent.current_problem)."""
    if problem := agent.current_problem:
        raise UnauthorizedClient(
            f"this agent's registration does not meet its profile, and an administrator must correct it: {problem}"
        )
