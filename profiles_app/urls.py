from django.urls import path

from profiles_app.api import (
    ActiveProfileView,
    ProfileListView,
    ProfileValidationView,
    ProfileView,
)

urlpatterns = [
    path("models/profile", ActiveProfileView.as_view(), name="active-profile"),
    path("models/profiles", ProfileListView.as_view(), name="profiles"),
    path("models/profiles/<str:name>", ProfileView.as_view(), name="profile"),
    path(
        "models/profiles/<str:name>/validate",
        ProfileValidationView.as_view(),
        name="profile-validation",
    ),
]
