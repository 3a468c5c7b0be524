"""Every kind of event, declared once: its name, what an administrator reads, what the person reads.

`told` is shown on the person's own /activity; kinds without it are for administrators only. A kind's
name never changes its meaning: readers of exports rely on it.
"""

from dataclasses import dataclass

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Kind:
    name: str
    title: str
    told: str = ""
    refusal: bool = False  # equal ones within a minute are one event


_KINDS: dict[str, Kind] = {}


def _declare(name: str, title: str, told: str = "", *, refusal: bool = False) -> Kind:
    kind = _KINDS[name] = Kind(name, title, told, refusal)
    return kind


def find_kind(name: str) -> Kind | None:
    return _KINDS.get(name)


def all_kinds() -> list[Kind]:
    return list(_KINDS.values())


# From asking to the last use
REQUEST_OPENED = _declare("request.opened", "An agent asked for an approval", "An agent asked for your approval")
REQUEST_REPEATED = _declare(
    "request.repeated", "An agent repeated a request with its Idempotency-Key; nobody was asked again", refusal=True
)
REQUEST_REFUSED = _declare("request.refused", "An agent's request was refused", refusal=True)
REQUEST_APPROVED = _declare("request.approved", "A person approved", "You approved")
REQUEST_DENIED = _declare("request.denied", "A person denied", "You denied")
REQUEST_EXPIRED = _declare("request.expired", "A request ran out of time", "The request ran out of time")
REQUEST_CANCELLED = _declare("request.cancelled", "A request was cancelled", "The request was cancelled")
REQUEST_REDEEMED = _declare("request.redeemed", "An agent fetched the approved token", "The agent took the approval up")
REQUEST_REVOKED = _declare("request.revoked", "An approval was revoked before its use", "The approval was revoked")
REQUEST_DELIVERING = _declare(
    "request.delivering", "The tokens are on their way to the agent", "The approval is on its way to the agent"
)
REQUEST_FAILED = _declare(
    "request.failed", "The tokens did not reach the agent", "The agent could not be reached: the approval has ended"
)
REQUEST_POLLED_AGAIN = _declare(
    "request.polled_again",
    "A redeemed request was polled again (its answer may have been lost)",
    refusal=True,
)
PROMPT_REFUSED = _declare("prompt.refused", "An answer to a prompt was refused", refusal=True)
TOKEN_ISSUED = _declare("token.issued", "A token was issued")
TOKEN_REFUSED = _declare("token.refused", "A token was refused", refusal=True)
GRANT_REVOKED = _declare("grant.revoked", "A grant was revoked", "What you had granted was revoked")
GRANT_CONSENTED = _declare("grant.consented", "A person consented in the browser", "You gave an agent access")
GRANT_DECLINED = _declare("grant.declined", "A person refused consent", "You refused an agent access")
GRANT_CONTINUED = _declare("grant.continued", "An agent came back to what a person had consented to")
TOKEN_REVOKED = _declare("token.revoked", "An access token was revoked")
REFRESH_TOKEN_REPEATED = _declare(
    "refresh_token.repeated", "A refresh token was used again within 30 seconds; its agent got the same successor again"
)
REFRESH_TOKEN_REVOKED = _declare(
    "refresh_token.revoked", "A refresh token was revoked", "You ended what let the agent go on"
)
USE_SPENT = _declare("use.spent", "A use was spent", "The operation was carried out")
USE_GIVEN_BACK = _declare("use.given_back", "A use that came to nothing was given back")
USE_REFUSED = _declare("use.refused", "A use was refused", "An attempt to use the approval was refused", refusal=True)

# Leases
LEASE_BOUGHT = _declare("lease.bought", "A lease was bought; its account is not there yet")
LEASE_ISSUED = _declare("lease.issued", "A lease began: the account is there", "An agent got an account in your name")
LEASE_UNWRAPPED = _declare("lease.unwrapped", "A wrapped lease was unwrapped")
LEASE_UNWRAPPED_TWICE = _declare(
    "lease.unwrapped_twice",
    "ALARM: a handle was unwrapped a second time; the lease was ended",
    "ALARM: somebody used an agent's one-time handle a second time; the account was taken back",
)
LEASE_PASSWORD_SET = _declare("lease.password_set", "A lease got a new password: its buyer repeated the call")
LEASE_RENEWED = _declare("lease.renewed", "A lease was renewed", "An agent's account in your name was renewed")
LEASE_REFUSED = _declare("lease.refused", "A lease was refused", refusal=True)
LEASE_ENDED = _declare("lease.ended", "A lease ended; its account is being taken back", "An agent's account ended")
LEASE_REVOKED = _declare("lease.revoked", "An account was taken back: a read confirmed it", "The account is gone")
LEASE_DISABLED = _declare("lease.disabled", "An account cannot log in any more, but could not be dropped")
LEASE_STUCK = _declare("lease.stuck", "ALARM: an account could not be taken back; still tried")
LEASE_FORGOTTEN = _declare("lease.forgotten", "ALARM: an administrator gave an account up that nobody confirmed gone")
LEASE_LEFT_BEHIND = _declare(
    "lease.left_behind", "ALARM: an account may have left something that is not its own; look at its backend"
)
LEASES_ENDED = _declare("leases.ended", "An administrator ended leases")
ORPHAN_FOUND = _declare("orphan.found", "ALARM: an account of ours without a lease was found")
ORPHAN_REVOKED = _declare("orphan.revoked", "An account without a lease was taken back")
BACKEND_CHANGED = _declare("backend.changed", "A backend was changed")
BACKEND_CHECKED = _declare("backend.checked", "A backend's preflight ran")
BACKEND_ROTATED = _declare("backend.rotated", "A backend's administrator secret was changed")
BACKEND_DRAINED = _declare("backend.drained", "A backend lends nothing more")
ROLE_CHANGED = _declare("role.changed", "A role was changed")
RECOVERY_STARTED = _declare("recovery.started", "Taking back was paused, to be looked at after a restore")
RECOVERY_ENDED = _declare("recovery.ended", "Taking back goes on after a restore")

# Agents
AGENT_REGISTERED = _declare("agent.registered", "An agent was registered")
AGENT_CHANGED = _declare("agent.changed", "An agent was changed")
AGENT_UNREGISTERED = _declare("agent.unregistered", "An agent took back its own registration")
AGENT_CHANGE_REFUSED = _declare("agent.change_refused", "An agent tried to widen its registration", refusal=True)
AGENT_RESET = _declare(
    "agent.reset", "An agent changed its keys or addresses without proof of its old key: all that it held ended"
)
AGENT_EXPIRED = _declare("agent.expired", "A registration that nobody used was deleted")
INITIAL_ACCESS_TOKEN_MADE = _declare("initial_access_token.made", "A token to register agents with was made")
INITIAL_ACCESS_TOKEN_REVOKED = _declare("initial_access_token.revoked", "A token to register agents with was revoked")
AGENT_KEYS_CHANGED = _declare("agent.keys_changed", "An agent published other keys")
AGENT_SUSPENDED = _declare("agent.suspended", "An agent was suspended")
AGENT_RESUMED = _declare("agent.resumed", "An agent was resumed")
AGENT_SECRET_ISSUED = _declare("agent.secret_issued", "An agent got a new client secret")
AGENT_SECRETS_REVOKED = _declare("agent.secrets_revoked", "An agent's client secrets were revoked")
AGENT_LINKED = _declare("agent.linked", "An agent was linked to a person", "An administrator let this agent ask you")
AGENT_UNLINKED = _declare("agent.unlinked", "An agent's link to a person ended", "This agent may no longer ask you")
AGENT_STOPPED = _declare("agent.stopped", "A person stopped an agent", "You stopped this agent")
AGENT_ALLOWED = _declare("agent.allowed", "A person let a stopped agent ask again", "You let this agent ask again")

# People
PERSON_INVITED = _declare("person.invited", "A person was invited", "You were invited")
INVITATION_ACCEPTED = _declare("person.invitation_accepted", "An invitation was accepted", "You set your password")
SIGN_IN_LINK_MADE = _declare(
    "sign_in_link.made",
    "An administrator made a sign-in link for a person",
    "An administrator made a sign-in link for you",
)
PERSON_SIGNED_IN = _declare("person.signed_in", "A person signed in", "You signed in")
PERSON_SIGNED_OUT = _declare("person.signed_out", "A person signed out", "You signed out")
PERSON_LOCKED_OUT = _declare(
    "person.locked_out",
    "Sign-in was locked after wrong passwords",
    "Sign-in was locked after wrong passwords",
    refusal=True,
)
PERSON_DISABLED = _declare("person.disabled", "A person was disabled")
PERSON_ENABLED = _declare("person.enabled", "A person was enabled")
PERSON_CHANGED = _declare("person.changed", "A person's record was changed", "An administrator changed your record")
GROUP_CHANGED = _declare("group.changed", "A group was made or changed")

# Devices
DEVICE_ADDED = _declare("device.added", "A person added a device", "You added a device")
DEVICE_CHANGED = _declare(
    "device.changed", "A device was renamed or renewed", "A device of yours was renamed or renewed"
)
DEVICE_REMOVED = _declare("device.removed", "A device was removed", "A device of yours was removed")

USER_CODE_SET = _declare("user_code.set", "A person set their code for agents", "You set your code for agents")
USER_CODE_REMOVED = _declare(
    "user_code.removed", "A person removed their code for agents", "You removed your code for agents"
)
USER_CODE_LOCKED = _declare(
    "user_code.locked",
    "An agent's user codes are refused after wrong ones",
    "An agent gave too many wrong codes",
    refusal=True,
)

# What may be asked, and the server itself
RESOURCE_CHANGED = _declare("resource.changed", "A resource was changed")
RESOURCE_SECRET_ISSUED = _declare("resource.secret_issued", "A resource got a new credential")
RESOURCE_SECRETS_REVOKED = _declare("resource.secrets_revoked", "A resource's credentials were revoked")
SCOPE_CHANGED = _declare("scope.changed", "A scope was changed")
OPERATION_TYPE_CHANGED = _declare("operation_type.changed", "An operation type got a new version or state")
HINT_ISSUER_CHANGED = _declare("hint_issuer.changed", "An issuer of login hints was added or changed")
VAPID_KEY_MADE = _declare("vapid_key.made", "A key for push services was made")
SIGNING_KEY_MADE = _declare("signing_key.made", "A signing key was made")
SIGNING_KEY_WITHDRAWN = _declare("signing_key.withdrawn", "A signing key was withdrawn")
