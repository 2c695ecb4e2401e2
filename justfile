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

# The binary that the end-to-end tests use.
build:
    cargo build --workspace --bins --locked

# Installs what the end-to-end tests need.
setup:
    .ci/run setup

# End-to-end tests on Apache Kafka, e.g. `just e2e -k usage`.
e2e *ARGS: build
    .venv/bin/python -m pytest tests/e2e {{ ARGS }}

# A local Apache Kafka on 127.0.0.1:19092: `just kafka start`, `just kafka stop`.
kafka *ARGS:
    scripts/kafka {{ ARGS }}
