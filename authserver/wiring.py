"""Fills the tables of lower packages with the functions that upper packages offer.

No other module does.
"""

from uuid import UUID

from accounts import lifecycle as accounts
from accounts import sessions
from audit import pages as activity
from ciba import lifecycle, topics
from ciba.callbacks import sender
from ciba.callbacks import state as callbacks
from ciba.token_grant import HANDLER as CIBA_HANDLER
from clients import lifecycle as agents
from clients.keys import ASSERTION_ALGORITHMS
from clients.models import AUTHORIZATION_CODE, CIBA, CLIENT_CREDENTIALS, REFRESH_TOKEN, marks_of
from credentials.leases import pages as leases
from credentials.leases.branches import LEASES
from devices import lifecycle as devices
from devices import mail, push
from foundation import outbox, pending_answers
from oauth.grants import lifecycle as grants
from oauth.grants.endpoints import REVOKERS
from oauth.grants.grant_tree import BRANCH_KINDS
from oauth.metadata import EXTRA_FIELDS
from oauth.token_endpoint.authorization_code import HANDLER as AUTHORIZATION_CODE_HANDLER
from oauth.token_endpoint.client_credentials import HANDLER as CLIENT_CREDENTIALS_HANDLER
from oauth.token_endpoint.endpoints import HANDLERS
from oauth.token_endpoint.refresh_token import HANDLER as REFRESH_TOKEN_HANDLER
from operations.risk import AVAILABLE


def wire() -> None:
    outbox.NOTIFIERS[:] = [_notify_worker]
    outbox.HANDLERS.update({devices.PUSH: push.send, devices.MAIL: mail.send, callbacks.KIND: sender.deliver})
    outbox.HANDLERS.update({devices.NOTIFY: devices.notify_by_mail, devices.WITHDRAW: devices.withdraw_late})
    pending_answers.READERS.update(
        {
            topics.PROMPTS: topics.read_prompts,
            topics.REQUEST: topics.read_requests,
            "user": sessions.read_users,
            "session": sessions.read_sessions,
        }
    )
    accounts.NOTIFIERS[:] = [devices.notify_account_change]
    agents.AGENT_ENDINGS[:] = [lifecycle.end_requests_of, grants.end_grants_of]
    activity.MARKS[:] = [marks_of]
    activity.PARTS[:] = [leases.own_leases]
    HANDLERS[AUTHORIZATION_CODE] = AUTHORIZATION_CODE_HANDLER
    HANDLERS[REFRESH_TOKEN] = REFRESH_TOKEN_HANDLER
    HANDLERS[CLIENT_CREDENTIALS] = CLIENT_CREDENTIALS_HANDLER
    HANDLERS[CIBA] = CIBA_HANDLER
    REVOKERS["auth_req_id"] = lifecycle.cancel
    BRANCH_KINDS["lease"] = LEASES
    EXTRA_FIELDS.update(
        backchannel_authentication_endpoint="/bc-authorize",
        backchannel_token_delivery_modes_supported=["poll", "ping", "push"],
        backchannel_user_code_parameter_supported=True,
        acr_values_supported=sorted(AVAILABLE),
        backchannel_authentication_request_signing_alg_values_supported=list(ASSERTION_ALGORITHMS),
    )


def _notify_worker(work_id: UUID) -> None:
    from authserver.celery import notify_worker  # imported late: a process without work for a worker needs no Celery

    notify_worker(work_id)
