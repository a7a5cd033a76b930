# Paygate in a container. Build it: docker build -t paygate .
#
# Try it:   docker run -p 3402:3402 paygate wrap --demo --ephemeral --host 0.0.0.0
# Use it:   docker run -p 3402:3402 -v books:/var/lib/paygate -v ./paygate.json:/etc/paygate/paygate.json:ro paygate
#           with "serverCommand" in paygate.json; a command of yours after the image's name wins over CMD.
#
# The image holds Paygate alone. A server that needs Node or Python belongs into an image of yours
# that copies /usr/local/bin/paygate from this one.

FROM rust:1.95-slim-bookworm AS builder
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src ./src
COPY benches ./benches
COPY tests ./tests
RUN cargo build --release --locked --bin paygate

FROM debian:bookworm-slim
RUN groupadd --system --gid 10001 paygate \
    && useradd --system --uid 10001 --gid paygate --home-dir /var/lib/paygate --create-home \
        --shell /usr/sbin/nologin paygate
COPY --from=builder /build/target/release/paygate /usr/local/bin/paygate
# What https servers behind --remote-url are trusted by.
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY LICENSE /usr/share/doc/paygate/LICENSE

USER 10001:10001
WORKDIR /var/lib/paygate
VOLUME /var/lib/paygate
EXPOSE 3402
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["paygate", "health"]
ENTRYPOINT ["paygate"]
# A container is reached from outside, so it listens on all of its own addresses. Without a file it
# says so and ends: a demo here would give away a key with credits at every restart.
CMD ["wrap", "--config", "/etc/paygate/paygate.json", "--host", "0.0.0.0", "--db", "/var/lib/paygate/paygate.db"]
