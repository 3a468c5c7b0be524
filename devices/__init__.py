"""Devices: the browsers and phones that receive push messages.

Owns: devices and their push subscriptions, notifying approvers, user codes, the installable web
app. Does not own: prompts and their content (ciba). A push says only that a prompt is waiting.

models.py          Device, VapidKey, user codes
subscriptions.py   parsing the push subscription that a browser sends (pure)
lifecycle.py       enrol, rename, renew, remove; notify an approver, withdraw a notification
vapid.py           the keys that sign push messages (RFC 8292)
push.py, mail.py   sending one push message; sending one e-mail
user_codes.py      the code that lets an agent ask a user (CIBA `user_code`): set, remove, check, all
                   checks taking equally long
qr.py, context.py  the QR code for enrolling a phone; the push key on every page
forms.py, pages.py /devices, and the files of the installable web app
admin.py           devices in the administration
"""
