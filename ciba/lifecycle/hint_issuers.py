"""An administrator's change of a hint issuer."""

from collections.abc import Collection
from datetime import datetime

from django.db import transaction

from audit import events
from audit.record import About, record
from ciba.models import HintIssuer
from foundation.changed_columns import save_changed


@transaction.atomic
def save_hint_issuer(issuer: HintIssuer, changed: Collection[str], about: About, now: datetime) -> None:
    """`changed` names the fields that a form or file changed."""
    save_changed(issuer, changed)
    record(events.HINT_ISSUER_CHANGED, about, now, issuer=issuer.issuer, changed=sorted(changed))
