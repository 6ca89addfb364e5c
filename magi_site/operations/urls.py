from django.urls import path

from magi_site.operations import views

urlpatterns = [
    path("discover", views.DiscoverView.as_view(), name="discover"),
    path("health/detailed", views.HealthView.as_view(), name="health-detailed"),
    path("test/endpoints", views.EndpointTestsView.as_view(), name="test-endpoints"),
    path("system/info", views.SystemInfoView.as_view(), name="system-info"),
    path("servers/restart", views.RestartServersView.as_view(), name="admin-servers-restart"),
    path("servers/stop", views.StopServersView.as_view(), name="admin-servers-stop"),
]
