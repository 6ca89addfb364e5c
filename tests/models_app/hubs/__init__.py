"""Stand-ins for the hub and for Ollama's registry, on real loopback sockets."""

from tests.models_app.hubs.content import Content, make_model
from tests.models_app.hubs.hub import COMMIT, Hub
from tests.models_app.hubs.ollama import OllamaRegistry

__all__ = ["COMMIT", "Content", "Hub", "OllamaRegistry", "make_model"]
