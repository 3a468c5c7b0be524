"""The use cases of a backchannel request, one transaction each. The only code that writes its `state`.

requests.py      open a request with its prompt, or answer an earlier one again
answers.py       the user approves or denies
redemption.py    an approval becomes tokens: fetched or pushed
endings.py       a request expires, or the agent, the user or an administrator ends it
transitions.py   the changes of `state`, and what every event of a request says
hint_issuers.py  an administrator changes a hint issuer

A state changes by one conditional UPDATE whose WHERE clause is the transition table; the row count
decides which caller won. The audit event is in the same transaction. Lock order: request, then
grant. After the commit, waiting long polls and event streams are woken (ciba/topics.py).
"""

from ciba.lifecycle.answers import Approver, approve, deny
from ciba.lifecycle.endings import cancel, end_requests_of, expire, expire_due, stop_agent, withdraw, withdraw_all
from ciba.lifecycle.hint_issuers import save_hint_issuer
from ciba.lifecycle.redemption import drop_callback, end_dead, finish_callback, redeem, start_push
from ciba.lifecycle.requests import OpenedRequest, find_earlier, open
from ciba.lifecycle.transitions import about

__all__ = [
    "Approver", "OpenedRequest", "about", "approve", "cancel", "deny", "drop_callback", "end_dead", "end_requests_of",
    "expire", "expire_due", "find_earlier", "finish_callback", "open", "redeem", "save_hint_issuer",
    "start_push", "stop_agent", "withdraw", "withdraw_all",
]  # fmt: skip
