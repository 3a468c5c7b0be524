"""What the people answer with: the browsers and phones that a prompt reaches.

Owns: devices and their push subscriptions (models.py), reading what a browser sends (subscriptions.py),
enrolling, calling and calling off (lifecycle.py), the keys that we sign pushes with (vapid.py), sending a
push (push.py) and an e-mail (mail.py), /devices and the installable app's own files (views.py, app.py).
The person's code for agents: user_codes.py. Does not own: what a prompt says; a push tells only that something waits.
"""
