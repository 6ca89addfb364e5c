from django.apps import AppConfig


class ServersAppConfig(AppConfig):
    name = "servers_app"
    verbose_name = "Servers"

    def ready(self) -> None:
        from models_app.pruning import about_to_prune  # noqa: PLC0415
        from servers_app import checks, services  # noqa: F401, PLC0415 - registers the checks

        about_to_prune.connect(services.forget_servers_at_rest)
