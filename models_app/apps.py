from django.apps import AppConfig


class ModelsAppConfig(AppConfig):
    name = "models_app"
    verbose_name = "Models"

    def ready(self) -> None:
        from django.contrib.auth import get_user_model  # noqa: PLC0415 - models are ready now
        from django.contrib.auth.models import Group  # noqa: PLC0415

        # The checks are registered, and the signals connected, by their import.
        from models_app import checks, logins, models, task_signals  # noqa: F401, PLC0415
        from models_app.audit_targets import name_targets  # noqa: PLC0415
        from models_app.download_models import Download  # noqa: PLC0415

        name_targets(models.DiscoveredModel, "model", by="model_id")
        name_targets(models.ScanRoot, "scan root")
        name_targets(models.DiscoveryRules, "discovery rules")
        name_targets(models.Scan, "scan")
        name_targets(Download, "download")
        name_targets(get_user_model(), "user")
        name_targets(Group, "group")
        logins.listen()
