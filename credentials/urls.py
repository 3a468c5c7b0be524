from django.urls import path, re_path

from credentials.leases import pages
from credentials.leases.api import Leases, OneLease, Renew, Revoke, Unwrap, endpoint

ID = r"(?P<lease_id>[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"

urlpatterns = [
    path("leases/<uuid:lease_id>/end", pages.end_lease, name="end-lease"),
    re_path(r"^v1/leases/?$", endpoint("leases", Leases, "GET", "POST"), name="leases"),
    re_path(r"^v1/leases/unwrap/?$", endpoint("lease_unwrap", Unwrap, "POST"), name="lease-unwrap"),
    re_path(rf"^v1/leases/{ID}/?$", endpoint("lease", OneLease, "GET"), name="lease"),
    re_path(rf"^v1/leases/{ID}/renew/?$", endpoint("lease_renew", Renew, "POST"), name="lease-renew"),
    re_path(rf"^v1/leases/{ID}/revoke/?$", endpoint("lease_revoke", Revoke, "POST"), name="lease-revoke"),
]
