"""Where a lower package needs what an upper one offers, its table is filled here, and nowhere else."""

from authserver.celery import soon
from ciba.grant import HANDLER as CIBA_HANDLER
from clients.keys import SIGNING_ALGORITHMS
from clients.models import CIBA, CLIENT_CREDENTIALS
from devices import lifecycle as devices
from devices import mail, push
from foundation import outbox
from oauth.client_credentials import HANDLER as CLIENT_CREDENTIALS_HANDLER
from oauth.metadata import EXTRA_FIELDS
from oauth.token_endpoint import HANDLERS


def wire() -> None:
    outbox.SOON[:] = [soon]
    outbox.HANDLERS.update({devices.PUSH: push.send, devices.MAIL: mail.send})
    HANDLERS[CLIENT_CREDENTIALS] = CLIENT_CREDENTIALS_HANDLER
    HANDLERS[CIBA] = CIBA_HANDLER
    EXTRA_FIELDS.update(
        backchannel_authentication_endpoint="/bc-authorize",
        backchannel_token_delivery_modes_supported=["poll"],
        backchannel_user_code_parameter_supported=False,
        backchannel_authentication_request_signing_alg_values_supported=list(SIGNING_ALGORITHMS),
    )
