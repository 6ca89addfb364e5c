from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("api/", include("models_app.urls")),
    path("api/", include("profiles_app.urls")),
    path("api/", include("servers_app.urls")),
]
