from django.urls import path

from accounts import pages

urlpatterns = [
    path("login", pages.login, name="login"),
    path("logout", pages.logout, name="logout"),
    path("invitations/<str:handle>", pages.invitation, name="invitation"),
]
