from django.urls import path

from servers_app import server_api
from servers_app.api import ActivationView, PlanView
from servers_app.override_api import EnabledView, ThinkingOverrideView, TierOverrideView
from servers_app.query_api import QueryView
from servers_app.registry_api import ModelView, RegistryView, TierView

SERVERS, SERVER = "models/servers", "models/servers/<str:model_id>"
MODEL = "models/<str:model_id>"

urlpatterns = [
    path("query", QueryView.as_view(), name="query"),
    path("models/registry", RegistryView.as_view(), name="registry"),
    path("models/tiers/<str:tier>", TierView.as_view(), name="tier"),
    path("models/profiles/<str:name>/activate", ActivationView.as_view(), name="activation"),
    path("models/profiles/<str:name>/plan", PlanView.as_view(), name="plan"),
    path(SERVERS, server_api.ServerListView.as_view(), name="servers"),
    path(f"{SERVERS}/start-all", server_api.StartAllView.as_view(), name="servers-start"),
    path(f"{SERVERS}/stop-all", server_api.StopAllView.as_view(), name="servers-stop"),
    path(SERVER, server_api.ServerView.as_view(), name="server"),
    path(f"{SERVER}/start", server_api.StartView.as_view(), name="server-start"),
    path(f"{SERVER}/stop", server_api.StopView.as_view(), name="server-stop"),
    path(f"{SERVER}/restart", server_api.RestartView.as_view(), name="server-restart"),
    # After all others, of this app and of those below: what they name is no model's id.
    path(MODEL, ModelView.as_view(), name="model"),
    path(f"{MODEL}/tier", TierOverrideView.as_view(), name="model-tier"),
    path(f"{MODEL}/thinking", ThinkingOverrideView.as_view(), name="model-thinking"),
    path(f"{MODEL}/enabled", EnabledView.as_view(), name="model-enabled"),
]
