"""Users: their accounts, how they sign in, and their sessions.

Owns: User (its UUID is the `sub`), invitations, sign-in and sign-out, the lock against password
guessing. Does not own: whom an agent may ask (clients), what an agent may ask for (operations), and
the prompts that a user answers (ciba).

models.py          User, Invitation
staff_roles.py     the roles of staff and their permissions, and the groups that a migration makes of them
lockout.py         how many wrong passwords lock the sign-in (pure)
lifecycle.py       sign in and out, invitations, disable, enable, end sessions, assign roles, save a group
sessions.py        when a session was signed in, and whether that is recent enough
session_store.py   the table of sessions, which stores a digest of each session key
browsers.py        the signed cookie of browsers in which a user has signed in before
forms.py, pages.py /login, /logout, /invitations/{handle}
admin_forms.py     the form of a user's page in the administration
admin.py           users in the administration
admin_list.py      their list: how it is searched and exported
"""
