from django.apps import AppConfig


class ServersAppConfig(AppConfig):
    name = "servers_app"
    verbose_name = "Servers"

    def ready(self) -> None:
        from servers_app import checks  # noqa: F401, PLC0415 - registers the checks
