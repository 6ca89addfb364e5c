"""The pages of the admin beside Django's own: `admin:NAME`."""

from django.urls import URLPattern

from magi_site.dashboard.pages import dashboard_urls
from magi_site.pages.get_models import GetModelsPage
from magi_site.pages.page import page_url
from magi_site.pages.playground import PlaygroundPage, PlaygroundRequest
from magi_site.pages.recommendations import RecommendationsPage
from magi_site.pages.system import EndpointsPage, HealthPage, SettingsPage


def page_urls() -> list[URLPattern]:
    return [
        *dashboard_urls(),
        page_url("system/", HealthPage, "system"),
        page_url("system/endpoints/", EndpointsPage, "endpoints"),
        page_url("system/settings/", SettingsPage, "settings"),
        page_url("recommendations/", RecommendationsPage, "recommendations"),
        page_url("get-models/", GetModelsPage, "get_models"),
        page_url("playground/", PlaygroundPage, "playground"),
        page_url("playground/<str:request_id>/", PlaygroundRequest, "playground_request"),
    ]
