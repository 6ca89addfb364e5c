from django.apps import AppConfig


class ProfilesAppConfig(AppConfig):
    name = "profiles_app"
    verbose_name = "Profiles"

    def ready(self) -> None:
        from models_app.audit_targets import name_targets  # noqa: PLC0415 - models are ready now
        from profiles_app import models, preset_models  # noqa: PLC0415

        name_targets(models.Profile, "profile", by="slug")
        name_targets(preset_models.SamplingPreset, "sampling preset", by="name")
        name_targets(preset_models.ModelPreset, "model preset", by="name")
        name_targets(models.BaseRunSettings, "base run settings")
        name_targets(models.ModelRunSettings, "run settings of a model", by="model_id")
