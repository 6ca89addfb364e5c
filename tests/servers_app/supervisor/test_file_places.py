"""A machine launches with files of its own scan roots, whatever was saved elsewhere."""

from pathlib import Path

import pytest
from django.conf import settings

from models_app.models import ScanRoot
from profiles_app.models import BaseRunSettings
from servers_app.models import Server, ServerState
from tests.servers_app.supervisor.conftest import settled

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """An adapter in a scan root of this machine, which the base settings name."""
    ScanRoot.objects.create(node=settings.MAGI_NODE, path=str(tmp_path / "models"))
    path = tmp_path / "models" / "adapter.gguf"
    path.parent.mkdir()
    path.write_bytes(b"GGUF")
    BaseRunSettings.objects.create(pk=1, run_settings={"lora": [str(path)]})
    return path


def test_an_adapter_in_a_scan_root_is_given_to_the_server(
    wanted: Server, adapter: Path
) -> None:
    server = settled(wanted)

    assert server.state == ServerState.READY
    assert str(adapter) in server.argv


def test_one_that_became_a_link_out_of_it_is_not(wanted: Server, adapter: Path) -> None:
    outside = adapter.parent.parent / "outside.gguf"
    adapter.rename(outside)
    adapter.symlink_to(outside)

    server = settled(wanted)

    assert (server.state, server.argv) == (ServerState.FAILED, [])
    assert f"lora[0]: {adapter} lies in no scan root of this machine" in server.last_error
