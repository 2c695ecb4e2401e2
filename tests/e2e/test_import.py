"""`tollgate import litellm`, as a person types it: what it writes passes `tollgate config check`, and it says what it left out."""

import subprocess

import pytest
from support import clean_environment

CANARY = "sk-canary-import-4f1d"
LITELLM = f"""
model_list:
  - model_name: gpt-4o
    litellm_params: {{ model: azure/gpt-4o-eu, api_base: "https://eu.openai.azure.com", api_key: os.environ/AZURE_KEY, weight: 3 }}
  - model_name: gpt-4o
    litellm_params: {{ model: gpt-4o, api_key: {CANARY}, weight: 1, temperature: 0.2 }}
  - model_name: claude
    litellm_params: {{ model: anthropic/claude-sonnet-4-5, api_key: os.environ/CLAUDE_KEY, rpm: 60 }}
  - model_name: local
    litellm_params: {{ model: hosted_vllm/llama, api_base: "http://vllm:8000/v1", input_cost_per_token: 1.5e-7 }}
  - model_name: elsewhere
    litellm_params: {{ model: sagemaker/model }}
litellm_settings: {{ drop_params: true, num_retries: 2, context_window_fallbacks: [ {{ gpt-4o: [ claude ] }} ], callbacks: [ otel ] }}
router_settings: {{ fallbacks: [ {{ gpt-4o: [ local ] }} ], model_group_alias: {{ gpt-4: gpt-4o }}, timeout: 60 }}
general_settings: {{ master_key: {CANARY} }}
invented: {{ secret: {CANARY} }}
"""


@pytest.fixture
def tollgate(binary, tmp_path):
    def call(*arguments, ok=True, **variables):
        done = subprocess.run(
            [binary, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**clean_environment(), **variables},
            timeout=120,
        )
        assert (done.returncode == 0) == ok, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return call


@pytest.fixture
def litellm(tmp_path):
    file = tmp_path / "litellm.yaml"
    file.write_text(LITELLM)
    return file


def test_what_is_written_passes_the_check(tollgate, litellm, tmp_path):
    done = tollgate("import", "litellm", litellm, "--output", "tollgate.yaml")
    assert done.stdout == ""
    text = (tmp_path / "tollgate.yaml").read_text()
    variables = {"AZURE_KEY": "a", "CLAUDE_KEY": "c", "IMPORTED_OPENAI_API_KEY": CANARY}
    assert all(name in done.stderr for name in variables)
    checked = tollgate("config", "check", "--config", "tollgate.yaml", **variables)
    assert "no errors" in checked.stdout
    # Without the variables the check names them.
    missing = tollgate("config", "check", "--config", "tollgate.yaml", ok=False)
    assert all(name in missing.stdout for name in variables)
    shown = tollgate("config", "show", "--config", "tollgate.yaml").stdout
    for part in ("gpt-4o-eu", "context_window", "llama", "gpt-4", "default"):
        assert part in shown
    assert "input: 0.15" in text


def test_what_was_left_out_is_said_on_stderr_and_at_the_head(tollgate, litellm):
    done = tollgate("import", "litellm", litellm)
    head = done.stdout.split("\nproviders:")[0]
    for path in (
        "model_list[1].litellm_params.api_key",
        "model_list[1].litellm_params.temperature",
        "model_list[4].litellm_params.model",
        "litellm_settings.callbacks",
        "general_settings.master_key",
        "invented",
    ):
        assert f"{path}: " in done.stderr and f"# * {path}: " in head, path
    assert CANARY not in done.stdout and CANARY not in done.stderr


def test_an_existing_file_is_never_touched(tollgate, litellm, tmp_path):
    (tmp_path / "mine.yaml").write_text("mine\n")
    done = tollgate("import", "litellm", litellm, "--output", "mine.yaml", ok=False)
    assert "exists already" in done.stderr and (tmp_path / "mine.yaml").read_text() == "mine\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "not valid YAML"),
        ("general_settings: {}", "no `model_list`"),
        ("providers: {}\nendpoints: []", "of Tollgate already"),
        ("model_list: [ { model_name: a, litellm_params: { model: sagemaker/x } } ]", "none of the 1 entries"),
    ],
)
def test_a_file_that_is_no_litellm_configuration_is_refused(tollgate, tmp_path, text, says):
    (tmp_path / "bad.yaml").write_text(text)
    done = tollgate("import", "litellm", "bad.yaml", "--output", "out.yaml", ok=False)
    assert says in done.stderr and not (tmp_path / "out.yaml").exists()
    assert "cannot be read" in tollgate("import", "litellm", "nowhere.yaml", ok=False).stderr
