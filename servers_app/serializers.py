from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from servers_app.figures import is_running, uptime_s
from servers_app.following import last_lines, without_key
from servers_app.models import Server, ServerEvent, ServerState

SHOWN_EVENTS = 50
SHOWN_LOG_LINES = 200


class ServerSerializer(serializers.ModelSerializer[Server]):
    """A server of the list, under the guide's names and some more."""

    model_id = serializers.CharField(source="model.model_id", read_only=True)
    display_name = serializers.CharField(source="model.display_name", read_only=True)
    is_ready = serializers.SerializerMethodField()
    is_running = serializers.SerializerMethodField()
    is_reachable = serializers.SerializerMethodField(
        help_text="Whether its node is heard of; otherwise its state is of `unreachable_since`."
    )
    uptime_seconds = serializers.SerializerMethodField()
    last_error = serializers.SerializerMethodField()

    class Meta:
        model = Server
        fields: tuple[str, ...] = (
            "model_id",
            "display_name",
            "replica",
            "node",
            "port",
            "pid",
            "is_ready",
            "is_running",
            "is_reachable",
            "unreachable_since",
            "uptime_seconds",
            "wanted",
            "state",
            "on_request",
            "note",
            "load_progress",
            "engine",
            "build",
            "memory_mib",
            "restarts",
            "last_error",
        )
        read_only_fields = fields

    def get_is_ready(self, server: Server) -> bool:
        return server.state == ServerState.READY and server.unreachable_since is None

    def get_is_running(self, server: Server) -> bool:
        return is_running(server)

    def get_is_reachable(self, server: Server) -> bool:
        return server.unreachable_since is None

    def get_uptime_seconds(self, server: Server) -> int:
        return uptime_s(server) or 0

    def get_last_error(self, server: Server) -> str | None:
        return without_key(server.last_error, server) or None


class EventSerializer(serializers.ModelSerializer[ServerEvent]):
    class Meta:
        model = ServerEvent
        fields = ("at", "kind", "who", "why", "from_state", "to_state", "seconds")
        read_only_fields = fields


class ServerDetailSerializer(ServerSerializer):
    """All that is known of one server: its last events, the end of its log."""

    argv = serializers.ListField(child=serializers.CharField(), read_only=True)
    facts = serializers.DictField(
        read_only=True, help_text="What it came to: n_ctx, total_slots, modalities."
    )
    log_tail = serializers.SerializerMethodField()
    events = serializers.SerializerMethodField()

    class Meta(ServerSerializer.Meta):
        fields = (
            *ServerSerializer.Meta.fields,
            "asked_by",
            "asked_why",
            "argv",
            "facts",
            "peak_mib",
            "exit_code",
            "requested_at",
            "launched_at",
            "ready_at",
            "state_since",
            "drain_until",
            "stopped_at",
            "last_used_at",
            "next_start_at",
            "log_tail",
            "events",
        )
        read_only_fields = fields

    def get_log_tail(self, server: Server) -> str:
        return last_lines(server, SHOWN_LOG_LINES)

    @extend_schema_field(EventSerializer(many=True))
    def get_events(self, server: Server) -> list[dict[str, object]]:
        return list(EventSerializer(server.events.all()[:SHOWN_EVENTS], many=True).data)
