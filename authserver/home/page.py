"""Gathers the parts of the first page."""

from datetime import datetime
from typing import Any

from accounts.models import User
from authserver.home import attention, first_steps, today


def gather(user: User, now: datetime) -> dict[str, Any]:
    """The context of templates/admin/index.html."""
    charts = today.read_charts(user, now)
    steps = first_steps.find_steps(user)
    return {
        "title": "Countersign",
        "concerns": attention.find_concerns(user, now),
        "charts": charts,
        "hours": today.rows_by_hour(charts),
        "chart_width": today.HOURS * today.BAR_STEP,
        "chart_height": today.CHART_HEIGHT,
        "bar_width": today.BAR_WIDTH,
        "steps": steps,
        "steps_done": sum(step.is_done for step in steps),
        "now": now,
    }
