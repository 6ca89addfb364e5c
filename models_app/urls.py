from django.urls import path

from models_app.api import RescanView, TaskView
from models_app.audit_api import AuditView

urlpatterns = [
    path("admin/audit", AuditView.as_view(), name="audit"),
    path("models/rescan", RescanView.as_view(), name="rescan"),
    path("tasks/<uuid:task_id>", TaskView.as_view(), name="task"),
]
