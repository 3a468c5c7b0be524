from django.urls import path

from accounts import views

urlpatterns = [
    path("login", views.login, name="login"),
    path("logout", views.logout, name="logout"),
    path("invitations/<str:handle>", views.invitation, name="invitation"),
]
