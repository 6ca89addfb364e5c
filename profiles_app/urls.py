from django.urls import path

from profiles_app.api import ProfileListView

urlpatterns = [path("models/profiles", ProfileListView.as_view(), name="profiles")]
