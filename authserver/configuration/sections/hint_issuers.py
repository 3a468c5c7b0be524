"""Issuers whose login_hint_token may name a user."""

from typing import ClassVar

from authserver.configuration.differences import Values
from authserver.configuration.section import Audit, Context, Section, column
from ciba.lifecycle import save_hint_issuer
from ciba.models import HintIssuer


class HintIssuers(Section):
    name, noun, model, key = "hint_issuers", "hint issuer", HintIssuer, "issuer"
    fields = (
        column(HintIssuer, "issuer", is_fixed=True),
        column(HintIssuer, "algorithms"),
        column(HintIssuer, "jwks"),
        column(HintIssuer, "jwks_uri"),
        column(HintIssuer, "is_active"),
    )
    retired: ClassVar[Values] = {"is_active": False}

    def save(self, values: Values, changed: frozenset[str], context: Context, audit: Audit) -> None:
        issuer = self.build(values, changed, context.rows)
        save_hint_issuer(issuer, self.columns(changed), audit.about, audit.now)
