from django.contrib import admin

from models_app.models import DiscoveredModel
from profiles_app.models import Profile
from servers_app import (  # noqa: F401 - to register
    apikey_admin,
    engine_admin,
    event_admin,
    node_admin,
    request_admin,
    server_admin,
    usage_admin,
)
from servers_app.bench import admin as bench_admin  # noqa: F401 - to register
from servers_app.comparing import admin as comparing_admin  # noqa: F401 - to register
from servers_app.model_admin import EnablableModelAdmin
from servers_app.profile_admin import ActivatableProfileAdmin

admin.site.unregister(Profile)
admin.site.register(Profile, ActivatableProfileAdmin)
admin.site.unregister(DiscoveredModel)
admin.site.register(DiscoveredModel, EnablableModelAdmin)
