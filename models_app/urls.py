from django.urls import path

from models_app.api import RescanView, TaskView

urlpatterns = [
    path("models/rescan", RescanView.as_view(), name="rescan"),
    path("tasks/<uuid:task_id>", TaskView.as_view(), name="task"),
]
