from django.urls import path

from servers_app.api import (
    ActivationView,
    EnabledView,
    PlanView,
    RegistryView,
    ServerListView,
)

urlpatterns = [
    path("models/registry", RegistryView.as_view(), name="registry"),
    path("models/<str:model_id>/enabled", EnabledView.as_view(), name="model-enabled"),
    path("models/profiles/<str:name>/activate", ActivationView.as_view(), name="activation"),
    path("models/profiles/<str:name>/plan", PlanView.as_view(), name="plan"),
    path("models/servers", ServerListView.as_view(), name="servers"),
]
