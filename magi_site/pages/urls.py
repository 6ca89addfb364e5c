"""The pages of the admin beside Django's own: `admin:NAME`."""

from django.urls import URLPattern

from magi_site.pages.page import page_url
from magi_site.pages.system import EndpointsPage, HealthPage, SettingsPage


def page_urls() -> list[URLPattern]:
    return [
        page_url("system/", HealthPage, "system"),
        page_url("system/endpoints/", EndpointsPage, "endpoints"),
        page_url("system/settings/", SettingsPage, "settings"),
    ]
