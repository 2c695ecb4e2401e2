"""docker-compose.yml, the Dockerfile and deploy/tollgate.compose.yaml against the code and against each other.

No container engine is needed: what could be wrong in these files is a name, a port, a path, a command or a variable that
does not fit the other side, and each of those can be looked up.
"""

import hashlib
import re
import subprocess
import tomllib
from urllib.parse import urlsplit

import pytest
import yaml
from support import ROOT, clean_environment

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
CONFIG_FILE = ROOT / "deploy" / "tollgate.compose.yaml"
CONFIG_TEXT = CONFIG_FILE.read_text()
CONFIG = yaml.safe_load(CONFIG_TEXT)
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
REFERENCE = re.compile(r"\$\{([A-Z0-9_]+)(:-[^}]*)?\}")


def environment(service):
    """A service's variables as a container gets them when the user sets none."""
    return {
        name: REFERENCE.sub(lambda m: (m[2] or ":-")[2:], str(value))
        for name, value in service.get("environment", {}).items()
    }


def ports(service):
    """(host port, container port) pairs; the host's address must be loopback."""
    pairs = []
    for text in service.get("ports", []):
        address, host, container = text.split(":")
        assert address == "127.0.0.1", f"{text} is open to the network"
        pairs.append((int(host), int(container)))
    return pairs


def run(binary, *arguments, env=None):
    command = [binary, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**clean_environment(), **(env or {})}
    )


def test_it_has_the_four_services_and_what_they_need():
    assert set(OURS) == {"ingress", "guardrail", "router-worker", "usage-aggregator"}
    images = {name: service["image"] for name, service in SERVICES.items() if name not in OURS}
    assert images["kafka"].startswith("apache/kafka:") and images["cache"].startswith("valkey/valkey:")
    assert images["storage"] == images["storage-init"]
    assert all(":" in image and not image.endswith(":latest") for image in images.values())


def test_dependencies_exist_and_can_come_true():
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            condition = how["condition"]
            assert other in SERVICES, f"{name} depends on {other}"
            assert condition != "service_healthy" or "healthcheck" in SERVICES[other]
            if condition == "service_completed_successfully":
                assert "restart" not in SERVICES[other], "it would never be complete"


def test_volumes_and_configs_are_declared_or_in_the_repository():
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], (
                f"{name}: {volume}"
            )
        for entry in service.get("configs", []):
            assert entry["source"] in COMPOSE["configs"]


@pytest.mark.parametrize("name", OURS)
def test_commands_and_options_are_those_of_the_program(binary, name):
    command, *options = OURS[name]["command"]
    assert command == name
    shown = run(binary, command, "--help")
    assert shown.returncode == 0, shown.stderr
    for option in (word for word in options if word.startswith("-")):
        assert re.search(rf"(^|\s){option}\b", shown.stdout), f"{command} has no {option}"
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in OURS[name]["volumes"]}
    config = options[options.index("--config") + 1]
    assert (ROOT / mounted[config]).resolve() == CONFIG_FILE


@pytest.mark.parametrize("name", OURS)
def test_each_service_has_the_secrets_it_uses_and_no_others(binary, name):
    given = environment(OURS[name])
    used = {match[1] for match in REFERENCE.finditer(CONFIG_TEXT)}
    assert set(given) <= used, "a variable that the configuration does not name"
    checked = run(binary, "config", "check", "--config", str(CONFIG_FILE), "--service", name, env=given)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    provider_keys = {
        match[1]
        for provider in CONFIG["providers"].values()
        for match in REFERENCE.finditer(str(provider.get("api_key")))
    }
    assert bool(set(given) & provider_keys) == (name == "router-worker")


def test_every_variable_that_must_be_set_has_a_default_in_the_compose_file():
    for match in REFERENCE.finditer((ROOT / "docker-compose.yml").read_text()):
        assert match[2] is not None, f"{match[1]} has no default"


@pytest.mark.parametrize("name", OURS)
def test_health_is_asked_where_the_service_listens(name):
    port = int(CONFIG["listen"].rsplit(":", 1)[1])
    assert CONFIG["listen"].startswith("0.0.0.0:"), "a container is reached from outside"
    url = urlsplit(OURS[name]["healthcheck"]["test"][-1])
    assert (url.hostname, url.port, url.path) == ("127.0.0.1", port, "/health/ready")
    tool = OURS[name]["healthcheck"]["test"][1]
    assert re.search(rf"apt-get install .*\b{tool}\b", DOCKERFILE), f"the image has no {tool}"
    assert all(container == port for _, container in ports(OURS[name]))
    assert f"EXPOSE {port}" in DOCKERFILE


def test_health_paths_are_in_the_code():
    source = (ROOT / "crates" / "runtime" / "src" / "health.rs").read_text()
    assert all(f'"{path}"' in source for path in ("/health/live", "/health/ready", "/metrics"))


def test_kafka_is_where_the_configuration_says():
    kafka = environment(SERVICES["kafka"])
    listeners = dict(entry.split("://") for entry in kafka["KAFKA_LISTENERS"].split(","))
    advertised = dict(entry.split("://") for entry in kafka["KAFKA_ADVERTISED_LISTENERS"].split(","))
    assert advertised["INTERNAL"] == CONFIG["kafka"]["brokers"]
    host, port = CONFIG["kafka"]["brokers"].split(":")
    assert host in SERVICES and listeners["INTERNAL"].endswith(f":{port}")
    assert SERVICES["kafka"]["healthcheck"]["test"][-1] == port
    assert advertised["HOST"] == f"localhost:{ports(SERVICES['kafka'])[0][0]}"
    assert listeners["HOST"].endswith(f":{ports(SERVICES['kafka'])[0][1]}")
    protocols = dict(entry.split(":") for entry in kafka["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    assert set(protocols) == set(listeners)
    voter = kafka["KAFKA_CONTROLLER_QUORUM_VOTERS"].split("@")[1]
    assert voter.split(":")[0] in SERVICES and listeners["CONTROLLER"].endswith(":" + voter.split(":")[1])
    assert CONFIG["kafka"]["replication"] == 1, "there is one broker"


def test_storage_and_its_bucket_are_where_the_configuration_says():
    options = CONFIG["storage"]["options"]
    endpoint = urlsplit(options["aws_endpoint"])
    storage = SERVICES[endpoint.hostname]
    assert f"-s3.port={endpoint.port}" in storage["command"]
    assert f"-s3.config={storage['configs'][0]['target']}" in storage["command"]
    bucket = urlsplit(CONFIG["storage"]["url"]).hostname
    assert f"s3.bucket.create -name {bucket}'" in SERVICES["storage-init"]["command"][0]
    # The same variables, with the same defaults, reach the store and the services.
    content = COMPOSE["configs"][storage["configs"][0]["source"]]["content"]
    (identity,) = yaml.safe_load(REFERENCE.sub(lambda m: m[2][2:], content))["identities"]
    (keys,) = identity["credentials"]
    for service in OURS.values():
        given = environment(service)
        name_of = {
            option: REFERENCE.fullmatch(options[option])[1] for option in ("aws_access_key_id", "aws_secret_access_key")
        }
        assert given[name_of["aws_access_key_id"]] == keys["accessKey"]
        assert given[name_of["aws_secret_access_key"]] == keys["secretKey"]
    assert {match[1] for match in REFERENCE.finditer(content)} == set(name_of.values())


def test_the_admission_store_is_where_the_configuration_says():
    store = urlsplit(CONFIG["admission"]["store"])
    assert store.hostname in SERVICES and store.port == 6379


def test_the_key_in_the_comment_is_the_one_in_the_configuration():
    shown = re.search("Bearer ([a-z-]+)", (ROOT / "docker-compose.yml").read_text())[1]
    assert shown in CONFIG_TEXT
    assert CONFIG["keys"][0]["sha256"] == hashlib.sha256(shown.encode()).hexdigest()


def test_the_dockerfile_builds_what_is_here():
    with (ROOT / "Cargo.toml").open("rb") as file:
        version = tomllib.load(file)["workspace"]["package"]["rust-version"]
    assert f"FROM rust:{version}-bookworm AS builder" in DOCKERFILE
    with (ROOT / "services" / "tollgate" / "Cargo.toml").open("rb") as file:
        names = [target["name"] for target in tomllib.load(file).get("bin", [])] or ["tollgate"]
    assert re.search(r"--bin (\S+)", DOCKERFILE)[1] in names
    copied = re.search(r"COPY --from=builder (\S+) (\S+)", DOCKERFILE)
    assert f"install -D target/release/tollgate {copied[1]}" in DOCKERFILE
    assert f'ENTRYPOINT ["{copied[2]}"]' in DOCKERFILE
    user = re.search(r"^USER (\S+)$", DOCKERFILE, re.M)[1]
    assert user not in ("root", "0") and re.search(rf"useradd .*\b{user}$", DOCKERFILE, re.M)
    for service in OURS.values():
        assert service["build"] == {"context": ".", "dockerfile": "Dockerfile"}
