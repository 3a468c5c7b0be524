from django.urls import path

from audit.views import activity

urlpatterns = [path("activity", activity, name="activity")]
