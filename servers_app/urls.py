from django.urls import path

from servers_app.api import RegistryView, ServerListView

urlpatterns = [
    path("models/registry", RegistryView.as_view(), name="registry"),
    path("models/servers", ServerListView.as_view(), name="servers"),
]
