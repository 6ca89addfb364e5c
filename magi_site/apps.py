from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class MagiSiteConfig(AppConfig):
    """Gives the site its commands and system checks; it has no models."""

    name = "magi_site"

    def ready(self) -> None:
        from celery.signals import celeryd_after_setup  # noqa: PLC0415 - after the settings

        from magi_site import checks  # noqa: F401, PLC0415 - registers the checks
        from magi_site.schema_state import say_difference  # noqa: PLC0415

        celeryd_after_setup.connect(say_difference)


class MagiAdminConfig(AdminConfig):
    """Makes MagiAdminSite the default `admin.site`, so that apps register as usual."""

    default_site = "magi_site.admin_site.MagiAdminSite"
