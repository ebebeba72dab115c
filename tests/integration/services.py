"""Real services for tests and benchmarks: Apache Kafka (one KRaft broker) and redis-server, each in its own folder.

Both keep their port and data over `stop`/`kill` and `start`, so that a test can take them away and bring them back.
Each dies with this process, also when this process is killed.
"""

from __future__ import annotations

import ctypes
import shutil
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
JARS = ROOT / "runs" / "kafka" / "libs"
MAX_MESSAGE = 60 << 20
_libc = ctypes.CDLL(None)


def missing() -> list[str]:
    """What this machine lacks to start the services, in words that say how to get it; empty where nothing is."""
    lacks = []
    if shutil.which("redis-server") is None:
        lacks.append("redis-server (Debian package redis-server)")
    if shutil.which("java") is None:
        lacks.append("java (Debian package default-jre-headless)")
    if not any(JARS.glob("kafka_*.jar")):
        lacks.append("Kafka's jars (make integration fetches them with mvn)")
    return lacks


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _die_with_parent() -> None:
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@dataclass
class Service:
    """A server process with a folder.  `start` returns when it answers, or raises with the end of its output."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    name = "service"
    wait_s = 60.0

    def command(self) -> list[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    @property
    def output(self) -> Path:
        return self.folder / f"{self.name}.log"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.output.open("ab") as out:
            self.process = subprocess.Popen(
                self.command(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                preexec_fn=_die_with_parent,
            )
        until = time.monotonic() + self.wait_s
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > until:
                end = self.output.read_text(errors="replace")[-3000:]
                self.kill()
                raise RuntimeError(f"{self.name} did not start on port {self.port}:\n{end}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Asks it to end, as an administrator would."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
            self.process = None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@dataclass
class Kafka(Service):
    """One broker.  `bootstrap` is its address."""

    controller_port: int = field(default_factory=free_port)
    name = "kafka"

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _java(self, *arguments: str) -> list[str]:
        return [
            "java", "-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{JARS}/*",
            f"-Dlog4j2.configurationFile={HERE / 'kafka' / 'log4j2.yaml'}", *arguments,
        ]

    def command(self) -> list[str]:
        properties = self.folder / "server.properties"
        if not properties.exists():
            text = Template((HERE / "kafka" / "server.properties").read_text())
            properties.write_text(text.substitute(
                port=self.port, controller_port=self.controller_port, data=self.folder / "data",
            ))
            made = subprocess.run(
                self._java("kafka.tools.StorageTool", "format", "--standalone", "-t", _kafka_uuid(), "-c",
                           str(properties)),
                capture_output=True, text=True, check=False,
            )
            if made.returncode:
                raise RuntimeError(f"formatting Kafka's folder failed:\n{made.stdout}{made.stderr}")
        return self._java("kafka.Kafka", str(properties))

    def answers(self) -> bool:
        from kafka import KafkaAdminClient
        from kafka.errors import KafkaError

        with socket.socket() as s:
            s.settimeout(0.2)
            if s.connect_ex(("127.0.0.1", self.port)):
                return False
        try:
            admin = KafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=5_000)
            admin.list_topics()
            admin.close()
        except (KafkaError, OSError):
            return False
        return True

    def create_topic(self, name: str, partitions: int = 4, **configs: str) -> None:
        from kafka import KafkaAdminClient
        from kafka.admin import NewTopic

        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            topic = NewTopic(name, partitions, 1, topic_configs={"max.message.bytes": str(MAX_MESSAGE), **configs})
            admin.create_topics([topic])
        finally:
            admin.close()


@dataclass
class Redis(Service):
    """redis-server with an append-only file, the settings docs/operations.md asks for."""

    name = "redis"
    wait_s = 10.0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        return [
            "redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "",
            "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction",
        ]

    def answers(self) -> bool:
        with socket.socket() as s:
            s.settimeout(0.5)
            try:
                s.connect(("127.0.0.1", self.port))
                s.sendall(b"PING\r\n")
                return s.recv(64).startswith(b"+PONG")
            except OSError:
                return False

    def wipe(self) -> None:
        """FLUSHALL: as if the server had lost everything."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as s:
            s.sendall(b"FLUSHALL\r\n")
            if not s.recv(64).startswith(b"+OK"):
                raise RuntimeError("FLUSHALL was refused")


def _kafka_uuid() -> str:
    import base64

    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
