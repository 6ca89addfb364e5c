from django.apps import AppConfig


class ServersAppConfig(AppConfig):
    name = "servers_app"
    verbose_name = "Servers"

    def ready(self) -> None:
        from models_app.audit_targets import name_targets  # noqa: PLC0415
        from models_app.pruning import about_to_prune  # noqa: PLC0415
        from profiles_app.engines import (  # noqa: PLC0415
            engines_are_asked,
            settings_are_judged,
        )
        from profiles_app.nodes import nodes_are_asked  # noqa: PLC0415
        from servers_app import checks, services  # noqa: F401, PLC0415 - registers the checks
        from servers_app.apikey_models import ApiKey  # noqa: PLC0415
        from servers_app.benchmark_models import Benchmark  # noqa: PLC0415
        from servers_app.comparison_models import Comparison  # noqa: PLC0415
        from servers_app.engine.elsewhere import names_by_node  # noqa: PLC0415
        from servers_app.engine.unknown import judge_settings  # noqa: PLC0415
        from servers_app.models import Node, Server  # noqa: PLC0415
        from servers_app.placing import names_of_nodes  # noqa: PLC0415
        from servers_app.request_models import RequestRecord  # noqa: PLC0415

        name_targets(Server, "server")
        name_targets(Node, "node", by="name")
        name_targets(RequestRecord, "request", by="request_id")
        name_targets(ApiKey, "key", by="prefix")
        name_targets(Benchmark, "benchmark")
        name_targets(Comparison, "comparison")
        about_to_prune.connect(services.forget_servers_at_rest)
        settings_are_judged.connect(judge_settings)
        engines_are_asked.connect(names_by_node)
        nodes_are_asked.connect(names_of_nodes)
