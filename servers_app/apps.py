from django.apps import AppConfig


class ServersAppConfig(AppConfig):
    name = "servers_app"
    verbose_name = "Servers"

    def ready(self) -> None:
        from models_app.audit_targets import name_targets  # noqa: PLC0415
        from models_app.pruning import about_to_prune  # noqa: PLC0415
        from profiles_app.engines import settings_are_judged  # noqa: PLC0415
        from servers_app import checks, services  # noqa: F401, PLC0415 - registers the checks
        from servers_app.apikey_models import ApiKey  # noqa: PLC0415
        from servers_app.engine.unknown import judge_settings  # noqa: PLC0415
        from servers_app.models import Server  # noqa: PLC0415
        from servers_app.request_models import RequestRecord  # noqa: PLC0415

        name_targets(Server, "server")
        name_targets(RequestRecord, "request", by="request_id")
        name_targets(ApiKey, "key", by="prefix")
        about_to_prune.connect(services.forget_servers_at_rest)
        settings_are_judged.connect(judge_settings)
