from django.urls import path

from audit.pages import activity

urlpatterns = [path("activity", activity, name="activity")]
