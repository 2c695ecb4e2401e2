# The verbs that CI runs, one by one. `just --list` shows them; `just ci` is the whole run on a clean checkout.

# Everything that CI checks.
ci:
    .ci/run

# Formats the Rust code.
fmt:
    cargo fmt --all

# Formatting and clippy, warnings as errors.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Licences, sources and crate boundaries (needs cargo-deny).
deny:
    cargo deny check

# Unit, property and fixture tests.
test *ARGS:
    cargo test --workspace --locked {{ ARGS }}

# What the end-to-end tests use: the binary, and the embedded broker in a process of its own.
build:
    cargo build --workspace --bins --examples --locked

# Installs what the end-to-end tests need.
setup:
    .ci/run setup

# The recognisers of personal data against their labelled texts: none may find less than docs/guardrails.md says.
recognisers: build
    python3 tests/pii/evaluate.py --without-presidio --check --program target/debug/examples/evaluate

# End-to-end tests on the embedded broker, e.g. `just e2e -k usage`.
e2e *ARGS: build
    TOLLGATE_E2E_BROKER=embedded .venv/bin/python -m pytest tests/e2e {{ ARGS }}

# The same on Apache Kafka.
e2e-kafka *ARGS: build
    TOLLGATE_E2E_BROKER=kafka .venv/bin/python -m pytest tests/e2e {{ ARGS }}

# Every parser of outside bytes with any bytes: `just fuzz --release 300 jobs` is five minutes of one.
fuzz *ARGS:
    fuzz/run {{ ARGS }}

# A local Apache Kafka on 127.0.0.1:19092: `just kafka start`, `just kafka stop`.
kafka *ARGS:
    scripts/kafka {{ ARGS }}
