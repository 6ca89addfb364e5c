"""Several hosts on one machine: a network of its own for each, a real engine on two."""

from pathlib import Path

import pytest

from tests.cluster.alone import run_alone

pytestmark = pytest.mark.e2e


def test_a_node_that_is_cut_off_costs_no_request(tmp_path: Path, smollm2: Path) -> None:
    run_alone("lost_node", tmp_path, smollm2)


def test_a_model_is_copied_to_another_node_and_runs_there(
    tmp_path: Path, smollm2: Path
) -> None:
    run_alone("copied_model", tmp_path, smollm2)
