"""The people who approve and administer.

Owns: User (UUID = `sub`), invitations, sign-in and sign-out, the lock against guessing (lockout.py is
the pure rule). Does not own: what a person may be asked (clients, operations) or answers with (ciba).

models.py        User, Invitation, SignInAttempt
lockout.py       how many wrong passwords are too many (pure)
lifecycle.py     sign in, sign out, invite, accept, disable, enable
sessions.py      when this session was signed in; is that recent enough
session_store.py where sessions are kept: under a digest of their key
browsers.py      in which browsers a person has signed in before
views.py         /login, /logout, /invitations/{handle}
"""
