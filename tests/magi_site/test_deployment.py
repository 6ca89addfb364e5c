"""What deploy/ has runs what MAGI runs, and can be read by those it is for."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import yaml
from django.conf import settings
from django.http.request import split_domain_port, validate_host

from magi_site.processes import beat_command, web_command, worker_command

ROOT = Path(settings.BASE_DIR)
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
PYTHON = "/opt/magi/.venv/bin/python"
DOCUMENTED = set(re.findall(r"`([A-Z][A-Z_]+)`", (ROOT / "docs/configuration.md").read_text()))


# -- docker compose


class _Compose(yaml.SafeLoader):
    """Reads what Docker Compose reads: YAML with !reset and !override."""


class Reset:
    def __init__(self, value: Any) -> None:
        self.value = value


def _value(loader: Any, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    assert isinstance(node, yaml.ScalarNode)
    return loader.construct_scalar(node)


_Compose.add_constructor("!reset", lambda *_arguments: Reset(None))
_Compose.add_constructor("!override", lambda loader, node: Reset(_value(loader, node)))


def read_compose(path: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.load((ROOT / path).read_text(), _Compose)  # noqa: S506 - a SafeLoader
    return read


def merged(base: Any, over: Any) -> Any:
    """Put one file over another as Docker Compose does."""
    if isinstance(over, Reset):
        return over.value
    if isinstance(base, dict) and isinstance(over, dict):
        both = {key: merged(base.get(key), value) for key, value in over.items()}
        return {key: each for key, each in (base | both).items() if each is not None}
    if isinstance(base, list) and isinstance(over, list) and base and over != base:
        return [*base, *over]
    return over


def seconds(text: str) -> int:
    """Return a duration as compose has it: 30s, 2m."""
    return int(text[:-1]) * {"s": 1, "m": 60}[text[-1]]


ONE = read_compose("docker-compose.yml")
TWO = merged(ONE, read_compose("deploy/compose/two-nodes.yml"))
OURS = ("setup", "web", "worker", "beat", "startup")


@pytest.mark.parametrize("name", [*OURS, "worker-c"])
def test_a_container_of_ours_may_do_little(name: str) -> None:
    service = TWO["services"][name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert any(volume.endswith(":/data") for volume in service["volumes"])


@pytest.mark.parametrize("name", sorted(TWO["services"]))
def test_no_container_fills_the_disk_with_what_it_says(name: str) -> None:
    assert TWO["services"][name]["logging"]["options"]["max-size"] == "10m"


def test_a_container_has_the_time_that_its_end_takes() -> None:
    services, environment = ONE["services"], ONE["x-magi"]["environment"]
    drain, shutdown = (
        int(environment[name].split(":-")[1].rstrip("}"))
        for name in ("MAGI_DRAIN_SECONDS", "MAGI_SHUTDOWN_SECONDS")
    )

    assert seconds(services["web"]["stop_grace_period"]) > drain + shutdown
    # A worker's own end, requests in flight, and SIGKILL after ten seconds.
    assert seconds(services["worker"]["stop_grace_period"]) >= 60
    assert services["worker"]["entrypoint"] == ["python", "-m", "magi_site.contained"]


def test_web_is_healthy_when_it_may_be_sent_requests() -> None:
    assert "/ready" in ONE["services"]["web"]["healthcheck"]["test"][-1]


@pytest.mark.parametrize("name", ["worker", "worker-c"])
def test_a_worker_is_healthy_when_it_answers_itself(name: str) -> None:
    kind, test = TWO["services"][name]["healthcheck"]["test"]

    assert kind == "CMD-SHELL"
    # $$ is a dollar for the shell of the container; %h of the worker's name is its hostname.
    assert "--destination $$MAGI_NODE@$$(hostname)" in test
    assert "MAGI_NODE" in TWO["services"][name]["environment"]


@pytest.mark.parametrize("services", [ONE["services"], TWO["services"]], ids=["one", "two"])
def test_no_container_loses_its_network_when_another_one_ends(services: dict[str, Any]) -> None:
    assert not any("network_mode" in service for service in services.values())
    assert services["worker"]["environment"]["MAGI_NODE_ADDRESS"] == "worker"


def test_profiles_of_the_folder_are_those_of_the_containers() -> None:
    for name in OURS:
        assert "./config/profiles:/app/config/profiles:ro" in TWO["services"][name]["volumes"]


def test_what_an_image_fetches_lies_where_it_may_write() -> None:
    text = (ROOT / "Dockerfile").read_text()
    told = dict(re.findall(r"(?<=[ ])([A-Z_]+)=(\S+)", text))

    assert told["MAGI_DATA_DIR"] == "/data"
    assert {told[name].split("/")[1] for name in ("HF_HOME", "OLLAMA_MODELS")} == {"data"}


def test_the_limits_are_those_of_the_guide() -> None:
    assert ONE["services"]["worker"]["deploy"]["resources"]["limits"] == {
        "cpus": "4",
        "memory": "8g",
    }


@pytest.mark.parametrize("name", [*OURS, "worker-c"])
def test_a_container_is_told_only_what_there_is_to_tell(name: str) -> None:
    assert TWO["services"][name]["environment"].keys() <= DOCUMENTED


def test_two_nodes_run_the_commands_of_two_nodes() -> None:
    services = TWO["services"]

    assert services["web"]["command"] == web_command("0.0.0.0", 8000)
    for name, node in (("worker", "b"), ("worker-c", "c")):
        worker = services[name]
        assert worker["command"] == worker_command(node)
        assert worker["environment"]["MAGI_NODE"] == node
        assert worker["environment"]["MAGI_NODE_ADDRESS"] == name
    folders = [services[name]["volumes"] for name in ("worker", "worker-c")]
    assert not set(folders[0]) & set(folders[1])


@pytest.mark.parametrize("services", [ONE["services"], TWO["services"]], ids=["one", "two"])
def test_each_container_is_of_a_node_that_has_a_worker(services: dict[str, Any]) -> None:
    nodes = {
        name: service["environment"]["MAGI_NODE"]
        for name, service in services.items()
        if name in {*OURS, "worker-c"}
    }
    workers = {name: node for name, node in nodes.items() if name.startswith("worker")}

    assert nodes.keys() >= set(OURS)
    assert set(nodes.values()) == set(workers.values())
    for name, node in workers.items():
        assert f"node.{node},cluster" in services[name]["command"]
    # What it is asked to look at without a worker is what the worker of its node has.
    assert services["web"]["volumes"] == services["worker"]["volumes"]
    assert nodes["web"] == nodes["worker"]


def test_from_outside_two_nodes_are_one_address_that_wants_a_key() -> None:
    services = TWO["services"]
    published = {
        name: service["ports"] for name, service in services.items() if "ports" in service
    }

    assert published == {"haproxy": ["127.0.0.1:8080:8080"]}
    keys = {
        services[name]["environment"]["MAGI_SECRET_KEY"]
        for name in ("setup", "web", "worker", "worker-c", "beat", "startup")
    }
    assert len(keys) == 1
    for name in ("setup", "web", "worker", "worker-c", "beat", "startup"):
        assert services[name]["environment"]["MAGI_API_AUTH"] == "required"


def test_a_web_process_drains_for_longer_than_haproxy_takes_to_notice() -> None:
    text = (ROOT / "deploy/compose/haproxy.cfg").read_text()
    found = re.search(r"inter (\d+)s fall (\d+)", text)

    assert found is not None
    notices_s = int(found[1]) * int(found[2])
    assert int(TWO["services"]["web"]["environment"]["MAGI_DRAIN_SECONDS"]) > notices_s


# -- haproxy


@pytest.mark.parametrize("path", ["deploy/haproxy/haproxy.cfg", "deploy/compose/haproxy.cfg"])
def test_haproxy_asks_who_is_ready_and_sends_no_prompt_twice(path: str) -> None:
    text = (ROOT / path).read_text()
    lines = [line.split("#")[0].strip() for line in text.splitlines()]

    assert "http-check send meth GET uri /ready ver HTTP/1.1 hdr Host localhost" in lines
    assert "retry-on conn-failure" in lines
    assert "http-request deny if { path,url_dec -m str /metrics }" in lines
    sections = [line for line in text.splitlines() if line and not line[0].isspace()]
    known = r"(global|defaults|frontend \w+|backend \w+|resolvers \w+|#.*)"
    assert all(re.fullmatch(known, line) for line in sections)
    if program := shutil.which("haproxy"):
        command = [program, "-c", "-f", str(ROOT / path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_both_files_for_haproxy_differ_in_where_the_web_processes_are() -> None:
    alone, composed = (
        (ROOT / f"deploy/{folder}/haproxy.cfg").read_text().splitlines()
        for folder in ("haproxy", "compose")
    )
    different = {line.split()[0] for line in set(alone) ^ set(composed) if line.strip()}

    assert different <= {"#", "server", "server-template", "resolvers", "nameserver", "hold"}


# -- nginx


def test_nginx_passes_the_port_on_and_lets_a_connection_go_before_magi_does() -> None:
    text = (ROOT / "deploy/haproxy/nginx.conf").read_text()
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    upstream = "\n".join(lines).split("upstream magi {")[1].split("}")[0]
    kept = re.search(r"keepalive_timeout (\d+)s;", upstream)

    # An Origin has the port: a form that is sent from port 8080 is refused without.
    assert "proxy_set_header Host $http_host;" in lines
    assert kept is not None
    assert int(kept[1]) < uvicorn.Config("").timeout_keep_alive


# -- Prometheus


@pytest.mark.parametrize("path", ["docs/deployment.md", "deploy/systemd/magi.env"])
def test_prometheus_is_served_where_a_name_is_given(path: str) -> None:
    (names,) = re.findall(r"^ *#?MAGI_ALLOWED_HOSTS=(\S+)$", (ROOT / path).read_text(), re.M)
    document = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (targets,) = document["scrape_configs"][0]["static_configs"]

    for target in targets["targets"]:
        assert validate_host(split_domain_port(target)[0], names.split(","))


# -- systemd


def test_a_user_who_is_asked_for_a_password_has_one() -> None:
    env = (ROOT / "deploy/systemd/magi.env").read_text()
    recipe = (ROOT / "docs/deployment.md").read_text()

    assert "DATABASE_URL=postgres://magi:PASSWORD@127.0.0.1" in env
    assert "createuser --pwprompt magi" in recipe


def read_unit(path: Path) -> dict[str, list[str]]:
    """Return what a unit says: a list for each `Section.Key`."""
    said: dict[str, list[str]] = {}
    section = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and line[0] not in "#;":
            key, value = line.split("=", 1)
            said.setdefault(f"{section}.{key}", []).append(value)
    return said


def command_of(name: str) -> list[str]:
    unit = read_unit(ROOT / "deploy" / "systemd" / f"{name}.service")
    command = shlex.split(unit["Service.ExecStart"][0].replace("%%", "%"))
    assert command[0] == PYTHON
    return ["python", *command[1:]]


def test_the_units_run_the_same_commands() -> None:
    host, node = "${MAGI_HOST}", "${MAGI_NODE}"
    web = web_command(host, 0)

    assert command_of("magi-web") == [each if each != "0" else "${MAGI_PORT}" for each in web]
    assert command_of("magi-web@") == [each if each != "0" else "%i" for each in web]
    assert command_of("magi-worker") == worker_command(node)
    assert command_of("magi-beat") == beat_command()


def test_a_restart_of_the_worker_ends_no_llama_server() -> None:
    worker = read_unit(ROOT / "deploy/systemd/magi-worker.service")

    assert worker["Service.KillMode"] == ["process"]
    assert worker["Service.OOMPolicy"] == ["continue"]
    assert "Service.PrivateTmp" not in worker


def test_the_end_of_all_ends_them_after_the_worker() -> None:
    worker = read_unit(ROOT / "deploy/systemd/magi-worker.service")
    servers = read_unit(ROOT / "deploy/systemd/magi-servers.service")

    # What is started after another is stopped before it.
    assert "magi-servers.service" in worker["Unit.After"][0].split()
    assert servers["Service.ExecStop"][0].startswith(f"{PYTHON} manage.py park --no-check")
    assert servers["Service.RemainAfterExit"] == ["yes"]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_every_unit_may_do_little_and_goes_with_the_others(path: Path) -> None:
    unit = read_unit(path)

    assert unit["Unit.PartOf"] == ["magi.target"]
    assert unit["Install.WantedBy"] == ["magi.target"]
    assert unit["Service.User"] == ["magi"]
    for name in ("NoNewPrivileges", "ProtectKernelModules", "RestrictSUIDSGID"):
        assert unit[f"Service.{name}"] == ["yes"]
    assert unit["Service.ProtectSystem"] == ["strict"]
    assert unit["Service.EnvironmentFile"] == ["/etc/magi/magi.env"]
    assert "Service.MemoryDenyWriteExecute" not in unit


def test_the_environment_file_names_what_there_is() -> None:
    text = (ROOT / "deploy/systemd/magi.env").read_text()

    assert set(re.findall(r"^#?([A-Z][A-Z_]+)=", text, re.MULTILINE)) <= DOCUMENTED


def test_systemd_has_nothing_to_say_about_the_units(tmp_path: Path) -> None:
    for path in [*UNITS, ROOT / "deploy/systemd/magi.target"]:
        # Where MAGI would be installed, there is nothing here.
        (tmp_path / path.name).write_text(path.read_text().replace(PYTHON, sys.executable))
    program = shutil.which("systemd-analyze")
    if program is None:  # its own reading is what read_unit has done above
        assert all(read_unit(path) for path in UNITS)
        return

    command = [program, "verify", "--man=no", *sorted(map(str, tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    ours = [
        line for line in done.stderr.splitlines() if str(tmp_path) in line or "magi" in line
    ]
    assert (done.returncode, ours) == (0, [])
