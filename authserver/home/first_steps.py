"""What a new installation needs, until it has it."""

from dataclasses import dataclass, field

from django.urls import reverse

from accounts.models import User
from authserver import checks
from clients.models import Agent
from devices.models import Device
from operations.models import OperationType, Resource


@dataclass(frozen=True)
class Step:
    """`permission` is the right to do it. `problems` are sentences that say what is left."""

    title: str
    permission: str
    is_done: bool
    url: str = ""
    problems: list[str] = field(default_factory=list)


def find_steps(user: User) -> list[Step]:
    """The steps that this member of staff can do; none once all are done."""
    wrong = find_unsafe_settings()
    steps = [
        Step("Make the settings safe for production", "credentials.add_backend", not wrong, problems=wrong),
        Step("Add the first API", "operations.add_resource", Resource.objects.exists(), _add("operations_resource")),
        Step(
            "Add its first operation type", "operations.add_operationtype", OperationType.objects.exists(),
            _add("operations_operationtype"),
        ),
        Step("Add the first agent", "clients.change_own_agent", Agent.objects.exists(), _add("clients_agent")),
        Step(
            "Enrol the first phone", "devices.view_device", Device.objects.filter(removed_at=None).exists(),
            reverse("devices"),
        ),
    ]  # fmt: skip
    own = [step for step in steps if user.has_perm(step.permission)]
    return own if any(not step.is_done for step in own) else []


def find_unsafe_settings() -> list[str]:
    """What production would refuse; in the demo too. A process with contradictory settings does not start at all."""
    return [sentence for sentence, is_wrong in checks.find_unsafe().items() if is_wrong]


def _add(model: str) -> str:
    return reverse(f"admin:{model}_add")
