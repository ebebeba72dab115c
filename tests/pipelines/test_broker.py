from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from kie_ops.errors import ServiceError
from pipelines.broker import EmbeddedBroker


def test_topics_live_and_the_folder_is_removed() -> None:
    with EmbeddedBroker() as broker:
        broker.create_topic("notes", 2)
        broker.create_topic("notes", 2)
        producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
        assert producer.send("notes", b"a", partition=1).get(10).offset == 0
        producer.close()
        consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap)
        assert consumer.partitions_for_topic("notes") == {0, 1}
        assert consumer.end_offsets([TopicPartition("notes", 1)]) == {TopicPartition("notes", 1): 1}
        consumer.close()
        data = broker.data
    assert not data.exists()


def test_a_taken_port_is_an_error_that_says_so(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker, pytest.raises(ServiceError, match="embedded broker"):
        EmbeddedBroker(tmp_path, port=broker.port, start_s=3)


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from pipelines.broker import EmbeddedBroker\n"
        f"b = EmbeddedBroker(Path({str(tmp_path)!r})); print(b._process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    broker = psutil.Process(int(parent.stdout.readline()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    psutil.wait_procs([broker], timeout=10)
    assert not broker.is_running() or broker.status() == psutil.STATUS_ZOMBIE
