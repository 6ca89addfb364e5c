from django.urls import path

from models_app.api import RescanView, TaskView
from models_app.audit_api import AuditView
from models_app.download_api import DownloadCancelView, DownloadListView, DownloadView

urlpatterns = [
    path("admin/audit", AuditView.as_view(), name="audit"),
    path("models/rescan", RescanView.as_view(), name="rescan"),
    path("models/downloads", DownloadListView.as_view(), name="downloads"),
    path("models/downloads/<int:pk>", DownloadView.as_view(), name="download"),
    path(
        "models/downloads/<int:pk>/cancel", DownloadCancelView.as_view(), name="download-cancel"
    ),
    path("tasks/<uuid:task_id>", TaskView.as_view(), name="task"),
]
