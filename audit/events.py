"""Every kind of event, declared once: its name, the text for administrators, and the text for the user.

`user_text` is shown on the user's own /activity; kinds without it are for administrators only. A kind's
name never changes its meaning: readers of exports rely on it.
"""

from dataclasses import dataclass

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class EventKind:
    name: str
    title: str
    user_text: str = ""
    refusal: bool = False  # equal ones within a minute are one event


_KINDS: dict[str, EventKind] = {}


def _declare(name: str, title: str, user_text: str = "", *, refusal: bool = False) -> EventKind:
    kind = _KINDS[name] = EventKind(name, title, user_text, refusal)
    return kind


def find_kind(name: str) -> EventKind | None:
    return _KINDS.get(name)


def all_kinds() -> list[EventKind]:
    return list(_KINDS.values())


# Requests, grants and uses
REQUEST_OPENED = _declare("request.opened", "An agent asked for an approval", "An agent asked for your approval")
REQUEST_REPEATED = _declare(
    "request.repeated", "An agent repeated a request with its Idempotency-Key; no user was notified again", refusal=True
)
REQUEST_REFUSED = _declare("request.refused", "An agent's request was refused", refusal=True)
REQUEST_APPROVED = _declare("request.approved", "A user approved", "You approved")
REQUEST_DENIED = _declare("request.denied", "A user denied", "You denied")
REQUEST_EXPIRED = _declare("request.expired", "A request expired", "The request expired")
REQUEST_CANCELLED = _declare("request.cancelled", "A request was cancelled", "The request was cancelled")
REQUEST_REDEEMED = _declare(
    "request.redeemed",
    "An agent fetched the tokens of an approved request",
    "The agent fetched the tokens",
)
REQUEST_REVOKED = _declare("request.revoked", "An approval was revoked before its use", "The approval was revoked")
REQUEST_DELIVERING = _declare(
    "request.delivering",
    "Countersign is pushing the tokens to the agent",
    "Countersign is sending the result to the agent",
)
REQUEST_FAILED = _declare(
    "request.failed",
    "The tokens did not reach the agent",
    "Countersign could not reach the agent; your approval has ended",
)
REQUEST_POLLED_AGAIN = _declare(
    "request.polled_again",
    "An agent polled a redeemed request again (the first response may have been lost)",
    refusal=True,
)
PROMPT_REFUSED = _declare("prompt.refused", "An answer to a prompt was refused", refusal=True)
TOKEN_ISSUED = _declare("token.issued", "A token was issued")
TOKEN_REFUSED = _declare("token.refused", "A token was refused", refusal=True)
GRANT_REVOKED = _declare("grant.revoked", "A grant was revoked", "A grant of yours was revoked")
GRANT_CONSENTED = _declare("grant.consented", "A user consented in the browser", "You gave an agent access")
GRANT_DECLINED = _declare("grant.declined", "A user refused consent", "You refused an agent access")
GRANT_CONTINUED = _declare("grant.continued", "An agent got a new code under an earlier consent")
TOKEN_REVOKED = _declare("token.revoked", "An access token was revoked")
REFRESH_TOKEN_REPEATED = _declare(
    "refresh_token.repeated", "A refresh token was used again within 30 seconds; the agent got the same successor again"
)
REFRESH_TOKEN_REVOKED = _declare(
    "refresh_token.revoked", "A refresh token was revoked", "You ended an agent's offline access"
)
USE_SPENT = _declare("use.spent", "A use was spent", "The operation was carried out")
USE_REFUNDED = _declare("use.refunded", "A use was refunded, because its operation did not happen")
USE_REFUSED = _declare(
    "use.refused", "A use was refused", "An API refused an attempt to use your approval", refusal=True
)

# Leases
LEASE_REQUESTED = _declare("lease.requested", "A lease was requested; its account does not exist yet")
LEASE_ISSUED = _declare(
    "lease.issued", "A lease was issued; its account exists", "An agent got an account in your name"
)
LEASE_UNWRAPPED = _declare("lease.unwrapped", "A wrapped lease was unwrapped")
LEASE_UNWRAPPED_TWICE = _declare(
    "lease.unwrapped_twice",
    "ALARM: a handle was unwrapped a second time; Countersign ended the lease",
    "ALARM: an agent's one-time handle was used a second time; Countersign revoked the account",
)
LEASE_PASSWORD_SET = _declare("lease.password_set", "A lease got a new password, because the agent repeated the call")
LEASE_RENEWED = _declare("lease.renewed", "A lease was renewed", "An agent's account in your name was renewed")
LEASE_REFUSED = _declare("lease.refused", "A lease was refused", refusal=True)
LEASE_ENDED = _declare("lease.ended", "A lease ended; its account is being revoked", "An agent's account ended")
LEASE_REVOKED = _declare(
    "lease.revoked", "A lease was revoked: a read confirmed that its account is gone", "The account is gone"
)
LEASE_DISABLED = _declare(
    "lease.disabled", "An account can no longer log in, but could not be dropped; Countersign keeps trying"
)
LEASE_STUCK = _declare("lease.stuck", "ALARM: an account could not be revoked; Countersign keeps trying")
LEASE_ABANDONED = _declare("lease.abandoned", "ALARM: an administrator abandoned a lease; its account may still exist")
LEASE_LEFT_BEHIND = _declare("lease.left_behind", "ALARM: an account may have left objects behind; check the backend")
LEASES_REVOKED = _declare("leases.revoked", "An administrator revoked leases")
ORPHAN_FOUND = _declare("orphan.found", "ALARM: an account without a lease was found on a backend")
ORPHAN_REVOKED = _declare("orphan.revoked", "An account without a lease was revoked")
BACKEND_CHANGED = _declare("backend.changed", "A backend was changed")
BACKEND_CHECKED = _declare("backend.checked", "A backend's preflight ran")
BACKEND_ROTATED = _declare("backend.rotated", "A backend's administrator secret was changed")
BACKEND_DRAINED = _declare("backend.drained", "A backend was drained: it issues no more leases")
ROLE_CHANGED = _declare("role.changed", "A role was changed")
RECOVERY_STARTED = _declare("recovery.started", "Revocation was paused after a restore, for a review")
RECOVERY_ENDED = _declare("recovery.ended", "Revocation was resumed after a restore")

# Agents
AGENT_REGISTERED = _declare("agent.registered", "An agent was registered")
AGENT_CHANGED = _declare("agent.changed", "An agent was changed")
AGENT_RECHECKED = _declare(
    "agent.rechecked", "An agent's registration was checked again, because the demands of its profile changed"
)
AGENT_UNREGISTERED = _declare("agent.unregistered", "An agent deleted its own registration")
AGENT_CHANGE_REFUSED = _declare("agent.change_refused", "An agent tried to widen its registration", refusal=True)
AGENT_RESET = _declare(
    "agent.reset",
    "An agent changed its keys or addresses without proof of its old key; its grants and leases were revoked",
)
AGENT_EXPIRED = _declare("agent.expired", "An unused registration was deleted")
INITIAL_ACCESS_TOKEN_CREATED = _declare("initial_access_token.created", "An initial access token was created")
INITIAL_ACCESS_TOKEN_REVOKED = _declare("initial_access_token.revoked", "An initial access token was revoked")
AGENT_KEYS_CHANGED = _declare("agent.keys_changed", "An agent published new keys")
AGENT_SUSPENDED = _declare("agent.suspended", "An agent was suspended")
AGENT_RESUMED = _declare("agent.resumed", "An agent was resumed")
AGENT_SECRET_ISSUED = _declare("agent.secret_issued", "An agent got a new client secret")
AGENT_SECRETS_REVOKED = _declare("agent.secrets_revoked", "An agent's client secrets were revoked")
AGENT_LINKED = _declare(
    "agent.linked", "An agent was linked to a user", "An administrator allowed this agent to ask you"
)
AGENT_UNLINKED = _declare("agent.unlinked", "An agent's link to a user ended", "This agent may no longer ask you")
AGENT_STOPPED = _declare("agent.stopped", "A user stopped an agent", "You stopped this agent")
AGENT_ALLOWED = _declare(
    "agent.allowed", "A user allowed a stopped agent to ask again", "You allowed this agent to ask again"
)

# Users
USER_INVITED = _declare("user.invited", "A user was invited", "You were invited")
INVITATION_ACCEPTED = _declare("invitation.accepted", "An invitation was accepted", "You set your password")
SIGN_IN_LINK_MADE = _declare(
    "sign_in_link.made",
    "An administrator created a sign-in link for a user",
    "An administrator created a sign-in link for you",
)
USER_SIGNED_IN = _declare("user.signed_in", "A user signed in", "You signed in")
USER_SIGNED_OUT = _declare("user.signed_out", "A user signed out", "You signed out")
USER_LOCKED_OUT = _declare(
    "user.locked_out",
    "Sign-in was locked after too many wrong passwords",
    "Sign-in was locked after too many wrong passwords",
    refusal=True,
)
USER_DISABLED = _declare("user.disabled", "A user was disabled")
USER_SESSIONS_ENDED = _declare(
    "user.sessions_ended", "An administrator ended a user's sessions", "An administrator ended your sessions"
)
USER_ROLES_CHANGED = _declare(
    "user.roles_changed", "A user's roles in the administration changed", "An administrator changed your role"
)
USER_ENABLED = _declare("user.enabled", "A user was enabled")
USER_CHANGED = _declare("user.changed", "A user account was changed", "An administrator changed your account")
GROUP_CHANGED = _declare("group.changed", "A group was created or changed")
EXPORT_CREATED = _declare("export.created", "An administrator exported the rows of a list")

# Devices
DEVICE_ADDED = _declare("device.added", "A user added a device", "You added a device")
DEVICE_CHANGED = _declare(
    "device.changed",
    "A device was renamed, or its push subscription was renewed",
    "One of your devices was renamed, or its push subscription was renewed",
)
DEVICE_REMOVED = _declare("device.removed", "A device was removed", "One of your devices was removed")

USER_CODE_SET = _declare("user_code.set", "A user set a code for agents", "You set a code for agents")
USER_CODE_REMOVED = _declare(
    "user_code.removed", "A user removed the code for agents", "You removed the code for agents"
)
USER_CODE_LOCKED = _declare(
    "user_code.locked",
    "An agent sent too many wrong codes of a user; its codes are refused for a time",
    "An agent sent too many wrong codes for you",
    refusal=True,
)

# Resources, scopes, operation types and keys
RESOURCE_CHANGED = _declare("resource.changed", "A resource was changed")
RESOURCE_SECRET_ISSUED = _declare("resource.secret_issued", "A resource got a new credential")
RESOURCE_SECRETS_REVOKED = _declare("resource.secrets_revoked", "A resource's credentials were revoked")
SCOPE_CHANGED = _declare("scope.changed", "A scope was changed")
OPERATION_TYPE_CHANGED = _declare(
    "operation_type.changed", "An operation type got a new version, or was activated or deactivated"
)
HINT_ISSUER_CHANGED = _declare("hint_issuer.changed", "An issuer of login hint tokens was added or changed")
VAPID_KEY_CREATED = _declare("vapid_key.created", "A key for push services was created")
SIGNING_KEY_CREATED = _declare("signing_key.created", "A signing key was created")
SIGNING_KEY_WITHDRAWN = _declare("signing_key.withdrawn", "A signing key was withdrawn")
