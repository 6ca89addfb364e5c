"""The pages of this room; each is registered where it is written, but for the models'."""

from django.contrib import admin

from models_app import (  # noqa: F401 - to register
    audit_admin,
    download_admin,
    root_admin,
    rules_admin,
    scan_admin,
    user_admin,
)
from models_app.model_admin import DiscoveredModelAdmin
from models_app.models import DiscoveredModel

__all__ = ["DiscoveredModelAdmin"]

admin.site.register(DiscoveredModel, DiscoveredModelAdmin)
