from django.urls import path

from models_app.file_check_api import HubCheckView, VerifyView
from servers_app import node_api, server_api
from servers_app.api import ActivationView, PlanView
from servers_app.bench import api as bench
from servers_app.comparing import api as comparing
from servers_app.copy_api import CopyView
from servers_app.hub_api import HubQuantsView, HubSearchView
from servers_app.override_api import EnabledView, ThinkingOverrideView, TierOverrideView
from servers_app.query_api import QueryView
from servers_app.recommend.api import RecommendationsView, RecommendedProfileView
from servers_app.registry_api import ModelView, RegistryView, TierView
from servers_app.tuning.api import ApplyTuningView, TuneView

SERVERS, SERVER = "models/servers", "models/servers/<str:model_id>"
COMPARISONS, COMPARISON = "models/comparisons", "models/comparisons/<int:pk>"
BENCHMARKS, BENCHMARK = "models/benchmarks", "models/benchmarks/<int:pk>"
MODEL = "models/<str:model_id>"

urlpatterns = [
    path("query", QueryView.as_view(), name="query"),
    path("nodes", node_api.NodeListView.as_view(), name="nodes"),
    path("nodes/<str:name>", node_api.NodeView.as_view(), name="node"),
    path("nodes/<str:name>/cordon", node_api.CordonView.as_view(), name="node-cordon"),
    path("nodes/<str:name>/uncordon", node_api.UncordonView.as_view(), name="node-uncordon"),
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
    path(f"{SERVER}/move", server_api.MoveView.as_view(), name="server-move"),
    path(f"{SERVER}/restart", server_api.RestartView.as_view(), name="server-restart"),
    path(BENCHMARKS, bench.BenchmarkListView.as_view(), name="benchmarks"),
    path(
        f"{BENCHMARKS}/compare", bench.BenchmarkCompareView.as_view(), name="benchmarks-compare"
    ),
    path(BENCHMARK, bench.BenchmarkView.as_view(), name="benchmark"),
    path(f"{BENCHMARK}/cancel", bench.BenchmarkCancelView.as_view(), name="benchmark-cancel"),
    path(f"{BENCHMARKS}/tune", TuneView.as_view(), name="tune"),
    path(f"{BENCHMARK}/apply-settings", ApplyTuningView.as_view(), name="tuning-apply"),
    path(COMPARISONS, comparing.ComparisonListView.as_view(), name="comparisons"),
    path(COMPARISON, comparing.ComparisonView.as_view(), name="comparison"),
    path(
        f"{COMPARISON}/cancel",
        comparing.ComparisonCancelView.as_view(),
        name="comparison-cancel",
    ),
    path(
        f"{COMPARISON}/votes", comparing.ComparisonVoteView.as_view(), name="comparison-votes"
    ),
    path("models/recommendations", RecommendationsView.as_view(), name="recommendations"),
    path(
        "models/recommendations/profile",
        RecommendedProfileView.as_view(),
        name="recommended-profile",
    ),
    path("models/hub/search", HubSearchView.as_view(), name="hub-search"),
    path("models/hub/quants", HubQuantsView.as_view(), name="hub-quants"),
    # After all others, of this app and of those below: what they name is no model's id.
    path(MODEL, ModelView.as_view(), name="model"),
    path(f"{MODEL}/tier", TierOverrideView.as_view(), name="model-tier"),
    path(f"{MODEL}/thinking", ThinkingOverrideView.as_view(), name="model-thinking"),
    path(f"{MODEL}/enabled", EnabledView.as_view(), name="model-enabled"),
    path(f"{MODEL}/copy", CopyView.as_view(), name="model-copy"),
    path(f"{MODEL}/verify", VerifyView.as_view(), name="model-verify"),
    path(f"{MODEL}/check", HubCheckView.as_view(), name="model-check"),
]
