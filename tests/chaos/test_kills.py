"""kill -9 between every two steps of the protocol and at random moments: nothing lost, nothing doubled, the same bytes.

`make integration` kills at each step and a few times at random; `make chaos SEED= KILLS=` goes on for long.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.rig import CHUNK, STEPS, Rig, reads
from tests.integration.services import Kafka, Redis


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--chaos-seed"))


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--chaos-kills"))


@pytest.mark.integration
@pytest.mark.timeout(2_400)
def test_killed_between_every_two_steps(
    kafka: Kafka, redis_server: Redis, small_domain: str, tmp_path: Path, seed: int
) -> None:
    rig = Rig(kafka, redis_server, small_domain, tmp_path, seed=seed)
    for step in STEPS:
        rig.kill_at(step, rig.nth(step))
    totals = rig.finish()
    assert totals.documents == CHUNK * len(STEPS)


@pytest.mark.integration
@pytest.mark.timeout(1_200)
def test_killed_at_a_few_random_moments(
    kafka: Kafka, redis_server: Redis, small_domain: str, tmp_path: Path, seed: int
) -> None:
    rig = Rig(kafka, redis_server, small_domain, tmp_path, seed=seed)
    for _ in range(3):
        rig.kill_at_random()
    rig.finish()


@pytest.mark.integration
@pytest.mark.timeout(1_200)
def test_a_standby_takes_over(kafka: Kafka, redis_server: Redis, small_domain: str, tmp_path: Path, seed: int) -> None:
    """Two workers of the same settings: one reads, the other waits; the first is killed, the second goes on."""
    rig = Rig(kafka, redis_server, small_domain, tmp_path, partitions=2, seed=seed)
    rig.more()
    with rig.worker() as first, rig.worker() as second:
        workers = (first, second)
        first.until(lambda: any(reads(w.process.pid) for w in workers), "a lock")
        reading, waiting = workers if reads(first.process.pid) else workers[::-1]
        reading.kill()
        rig.more()
        waiting.wait()
    rig.finish()


@pytest.mark.chaos
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("partitions", [1, 3])
def test_killed_at_many_random_moments(
    partitions: int, kafka: Kafka, redis_server: Redis, small_domain: str, tmp_path: Path, seed: int, kills: int
) -> None:
    rig = Rig(kafka, redis_server, small_domain, tmp_path, partitions=partitions, seed=seed)
    for _ in range(kills):
        rig.kill_at_random()
    rig.finish()


@pytest.mark.chaos
@pytest.mark.timeout(7_200)
def test_killed_with_a_memory_that_forgets(
    kafka: Kafka, redis_server: Redis, small_domain: str, tmp_path: Path, seed: int, kills: int
) -> None:
    """Steps and random moments mixed; between some, Redis is killed, restarted or wiped."""
    rig = Rig(kafka, redis_server, small_domain, tmp_path, partitions=2, seed=seed)
    for _ in range(kills):
        if rig.random.random() < 0.5:
            rig.kill_at_random()
        else:
            step = rig.random.choice(STEPS)
            rig.kill_at(step, rig.nth(step))
        harm = rig.random.choice(["nothing", "nothing", "restart", "wipe"])
        if harm == "restart":
            redis_server.kill()
            redis_server.start()
        elif harm == "wipe":
            redis_server.wipe()
        rig.killed.append(f"redis {harm}")
    rig.finish()
