from django.urls import re_path

from operations.api import OperationTypes

urlpatterns = [re_path(r"^v1/operation-types/?$", OperationTypes.as_view(), name="operation-types")]
