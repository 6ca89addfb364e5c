from django.urls import path

from servers_app.manager import fetch_views, views

urlpatterns = [
    path("available-models", views.AvailableModelsView.as_view(), name="ai-available-models"),
    path("switch-model", views.SwitchModelView.as_view(), name="ai-switch-model"),
    path("model-status", views.ModelStatusView.as_view(), name="ai-model-status"),
    path("select-model", views.SelectModelView.as_view(), name="ai-select-model"),
    path("download-model", fetch_views.DownloadModelView.as_view(), name="ai-download-model"),
    path(
        "download-model/<int:download_id>",
        fetch_views.DownloadProgressView.as_view(),
        name="ai-download",
    ),
    path(
        "benchmark-model", fetch_views.BenchmarkModelView.as_view(), name="ai-benchmark-model"
    ),
    path(
        "performance-history",
        fetch_views.PerformanceHistoryView.as_view(),
        name="ai-performance-history",
    ),
]
