"""The suite's servers in containers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import docker
import docker.errors
from testcontainers.community.nats import NatsContainer
from testcontainers.community.postgres import PostgresContainer

POSTGRES_IMAGE = os.environ.get("CONSENT_TEST_POSTGRES_IMAGE") or "postgres:18"
NATS_IMAGE = os.environ.get("CONSENT_TEST_NATS_IMAGE") or "nats:2"


@cache
def docker_answers() -> bool:
    """Whether there is a Docker engine to start containers with."""
    try:
        docker.from_env(timeout=10).ping()
    except docker.errors.DockerException:
        return False
    return True


@contextmanager
def postgres_container() -> Iterator[str]:
    """URL of a PostgreSQL, not durable: its data is thrown away."""
    container = PostgresContainer(POSTGRES_IMAGE, username="consent", password="consent", dbname="postgres")
    container.with_env("POSTGRES_INITDB_ARGS", "--encoding=UTF8 --locale=C.UTF-8")
    container.with_command("-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c timezone=UTC")
    with container:
        yield container.get_connection_url(driver=None)


@contextmanager
def nats_container() -> Iterator[str]:
    """URL of a NATS with JetStream."""
    with NatsContainer(NATS_IMAGE, jetstream=True) as container:
        yield container.nats_uri()
