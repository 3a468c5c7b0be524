"""Where a lower package needs what an upper one offers, its table is filled here, and nowhere else."""

from accounts import lifecycle as accounts
from accounts import sessions
from audit import views as activity
from authserver.celery import soon
from ciba import delivery, lifecycle, sending, watching
from ciba.grant import HANDLER as CIBA_HANDLER
from clients import lifecycle as agents
from clients.keys import ASSERTION_ALGORITHMS
from clients.models import AUTHORIZATION_CODE, CIBA, CLIENT_CREDENTIALS, REFRESH_TOKEN, marks_of
from credentials import pages as leases
from credentials.branches import LEASES
from devices import lifecycle as devices
from devices import mail, push
from foundation import outbox, waiting
from oauth import lifecycle as grants
from oauth.authorization_code import HANDLER as AUTHORIZATION_CODE_HANDLER
from oauth.client_credentials import HANDLER as CLIENT_CREDENTIALS_HANDLER
from oauth.metadata import EXTRA_FIELDS
from oauth.refresh_token import HANDLER as REFRESH_TOKEN_HANDLER
from oauth.revocation import REVOKERS
from oauth.token_endpoint import HANDLERS
from oauth.tree import KINDS
from operations.risk import AVAILABLE


def wire() -> None:
    outbox.SOON[:] = [soon]
    outbox.HANDLERS.update({devices.PUSH: push.send, devices.MAIL: mail.send, delivery.KIND: sending.deliver})
    outbox.HANDLERS.update({devices.CALL: devices.call_late, devices.CALL_OFF: devices.call_off_late})
    waiting.READERS.update(
        {
            watching.PROMPTS: watching.read_prompts,
            watching.REQUEST: watching.read_requests,
            "person": sessions.read_people,
            "session": sessions.read_sessions,
        }
    )
    accounts.TELL[:] = [devices.tell]
    agents.HOLDINGS[:] = [lifecycle.end_requests_of, grants.end_grants_of]
    activity.MARKS[:] = [marks_of]
    activity.PARTS[:] = [leases.own_leases]
    HANDLERS[AUTHORIZATION_CODE] = AUTHORIZATION_CODE_HANDLER
    HANDLERS[REFRESH_TOKEN] = REFRESH_TOKEN_HANDLER
    HANDLERS[CLIENT_CREDENTIALS] = CLIENT_CREDENTIALS_HANDLER
    HANDLERS[CIBA] = CIBA_HANDLER
    REVOKERS["auth_req_id"] = lifecycle.cancel
    KINDS["lease"] = LEASES
    EXTRA_FIELDS.update(
        backchannel_authentication_endpoint="/bc-authorize",
        backchannel_token_delivery_modes_supported=["poll", "ping", "push"],
        backchannel_user_code_parameter_supported=True,
        acr_values_supported=sorted(AVAILABLE),
        backchannel_authentication_request_signing_alg_values_supported=list(ASSERTION_ALGORITHMS),
    )
