# syntax=docker/dockerfile:1
# One image for every service: the command says which (`tollgate ingress`, `tollgate router-worker`, …).

FROM rust:1.95-bookworm AS builder
WORKDIR /build
COPY . .
# The caches keep a rebuild short; what they hold must be copied out in the same step.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin tollgate \
    && install -D target/release/tollgate /out/tollgate

FROM debian:bookworm-slim
# libssl3: TLS; ca-certificates: HTTPS to providers; curl: the containers' healthchecks.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl libssl3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/tollgate --create-home tollgate
COPY --from=builder /out/tollgate /usr/local/bin/tollgate
USER tollgate
WORKDIR /var/lib/tollgate
EXPOSE 8080
# Of glibc's allocator: memory that large bodies have used goes back when they do (docs/reliability.md, "Memory").
ENV MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=32768 MALLOC_TRIM_THRESHOLD_=65536
# SIGTERM is how a service is asked to finish what it has in flight.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/tollgate"]
CMD ["--help"]
