"""Shared by all tests: options, services, a memory server of the session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import services

REQUIRED = "REQUIRE_SERVICES"
"""Set (as .ci/run does), missing services fail tests instead of skipping them."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("engram")
    group.addoption("--chaos-seed", type=int, default=1, help="seed of the random kills (make chaos SEED=)")
    group.addoption("--chaos-kills", type=int, default=20, help="number of random kills (make chaos KILLS=)")


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> None:
    """ENGRAM_... variables are settings: none of the tester's own may reach a test."""
    for name in [name for name in os.environ if name.startswith("ENGRAM_")]:
        del os.environ[name]


def _need_services() -> None:
    lacks = services.missing()
    if not lacks:
        return
    message = f"NOT RUN: this machine lacks {'; '.join(lacks)}"
    if os.environ.get(REQUIRED):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.Kafka]:
    """A real broker for the session.  A test that stops it starts it again."""
    _need_services()
    broker = services.Kafka(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def small_domain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a small trained domain: workers start fast with it.  See tests/integration/small_domain.py."""
    from tests.integration.small_domain import build

    return str(build(tmp_path_factory.mktemp("domain")))


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[services.Redis]:
    """A real, empty redis-server with persistence for one test."""
    _need_services()
    server = services.Redis(tmp_path / "redis")
    server.start()
    yield server
    server.stop()
