"""An embedded Kafka-protocol broker (the `noida-db` wheel, x86-64 Linux), for the demo and quick tests only.

It speaks the protocol but is no Kafka: one node, topics without UUID, no fetch-size limits, no durability promise.
"""

from __future__ import annotations

import contextlib
import ctypes
import queue
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from types import TracebackType

from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from kie_ops.errors import ConfigError, ServiceError

_PR_SET_PDEATHSIG = 1


class EmbeddedBroker:
    """A running broker: a context manager; `bootstrap` is its address.  Ends with the process that started it.

    data: where it keeps its topics; a temporary folder, removed at the end, by default.
    Raises ConfigError where the wheel is not installed, ServiceError where the broker does not start.
    """

    def __init__(self, data: Path | None = None, *, port: int | None = None, start_s: float = 30.0) -> None:
        self.port = port or _free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        if _accepts(self.port):  # else we would wait for somebody else's broker, and find it ready
            raise ServiceError("the embedded broker's port is taken", where=self.bootstrap,
                               next_step="choose another port")
        self._temporary = data is None
        self.data = data or Path(tempfile.mkdtemp(prefix="engram-broker-"))
        self.data.mkdir(parents=True, exist_ok=True)
        self._log = self.data / "broker.log"
        command = [
            str(_binary()), "start", "--only", "kafka", "--kafka-port", str(self.port), "--data-dir", str(self.data),
        ]
        self._process = _in_lasting_thread(lambda: _spawn(command, self._log))
        try:
            self._await_ready(time.monotonic() + start_s)
        except BaseException:
            self.close()
            raise

    def create_topic(self, topic: str, partitions: int = 1) -> None:
        """Makes `topic`; one that exists is left as it is."""
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            admin.create_topics([NewTopic(topic, partitions, 1)])
        except TopicAlreadyExistsError:
            pass
        finally:
            admin.close()

    def close(self) -> None:
        """Ends the broker (SIGTERM, so that it saves its topics) and removes a temporary folder."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._temporary:
            shutil.rmtree(self.data, ignore_errors=True)

    def _await_ready(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServiceError(f"the embedded broker ended with status {self._process.returncode}: {self._tail()}",
                                   where=self.bootstrap, next_step="see its message, or use a Kafka of your own")
            if _accepts(self.port):
                with contextlib.suppress(KafkaError):
                    KafkaAdminClient(bootstrap_servers=self.bootstrap, bootstrap_timeout_ms=2_000).close()
                    return
            time.sleep(0.02)
        raise ServiceError("the embedded broker does not answer", where=self.bootstrap, next_step=self._tail())

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return " / ".join(lines[-5:]) or "it wrote nothing"

    def __enter__(self) -> EmbeddedBroker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _binary() -> Path:
    try:
        binary = Path(str(files("noida_db").joinpath("noida-db")))
    except ModuleNotFoundError:
        binary = Path("noida-db")
    if not binary.is_file():
        raise ConfigError("the embedded broker is not installed", where="source.bootstrap",
                          next_step="pip install noida-db (x86-64 Linux), or name a Kafka of your own")
    if not binary.stat().st_mode & 0o100:
        binary.chmod(0o755)  # the wheel does not keep the bit
    return binary


def _spawn(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    libc = ctypes.CDLL(None)  # looked up before the fork

    def die_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    with log.open("ab") as out:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=die_with_parent,
            start_new_session=True,  # Ctrl-C in the terminal is for us: the broker goes last
        )


def _in_lasting_thread(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Runs `start` in a thread that ends with its child: Linux ties the death signal to the thread that forked."""
    results: queue.SimpleQueue[subprocess.Popen[bytes] | BaseException] = queue.SimpleQueue()

    def keep() -> None:
        try:
            process = start()
        except BaseException as e:
            results.put(e)
            return
        results.put(process)
        process.wait()

    threading.Thread(target=keep, name="broker-keeper", daemon=True).start()
    result = results.get()
    if isinstance(result, BaseException):
        raise result
    return result


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _accepts(port: int) -> bool:
    with socket.socket() as s:
        s.settimeout(0.5)
        return s.connect_ex(("127.0.0.1", port)) == 0
