from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

from magi_site.api_docs import DocsView, SchemaView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    # Asked for by browsers where a page names no other: an error's, a file's.
    path("favicon.ico", RedirectView.as_view(url=static("magi/favicon.svg"))),
    path("admin/", admin.site.urls),
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path("api/docs/", DocsView.as_view(), name="docs"),
    path("api/admin/", include("magi_site.operations.urls")),
    path("api/", include("models_app.urls")),
    path("api/", include("profiles_app.urls")),
    path("api/", include("servers_app.urls")),
    path("ai/", include("servers_app.manager.urls")),
]

handler400 = "magi_site.error_pages.bad_request"
handler403 = "magi_site.error_pages.permission_denied"
handler404 = "magi_site.error_pages.page_not_found"
handler500 = "magi_site.error_pages.server_error"
