"""Storage on an object store, over obstore: one conditional PUT is the exclusive creation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
    UnknownConfigurationKeyError,
)
from obstore.store import from_url

from kie_ops.errors import ConfigError, ServiceError
from pipelines import faults

_SECTIONS = ("client_options", "retry_config", "credential_provider")


class ObjectStorage:
    """Objects below a bucket's prefix.  Folders are prefixes: nothing makes or removes them."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self.root = url.rstrip("/")
        settings = dict(options or {})
        sections = {name: settings.pop(name) for name in _SECTIONS if name in settings}
        if str(settings.get("endpoint", "")).startswith("http://"):
            sections["client_options"] = {"allow_http": True, **sections.get("client_options", {})}
        try:
            self._store = from_url(url, **settings, **sections)
        except (UnknownConfigurationKeyError, BaseError, ValueError, TypeError) as e:
            raise ConfigError(f"cannot use the object store: {_brief(e)}", where=f"tables.root: {url}",
                              next_step="check tables.root and tables.options") from e

    def create(self, path: str, data: bytes) -> bool:
        with self._explained(path):
            try:
                obstore.put(self._store, path, data, mode="create")
            except AlreadyExistsError:
                return False
            except FileNotFoundError as e:
                raise self._no_bucket(path) from e
        return True

    def replace(self, path: str, data: bytes, *, durable: bool = True) -> None:
        faults.at("temp-written")
        with self._explained(path):
            try:
                obstore.put(self._store, path, data, mode="overwrite", use_multipart=False)
            except FileNotFoundError as e:
                raise self._no_bucket(path) from e

    def replace_if(self, path: str, data: bytes, version: str | None, *, durable: bool = True) -> bool:
        faults.at("temp-written")
        if version is None:
            return self.create(path, data)
        tag, _, generation = version.partition("\n")
        expected = {key: value for key, value in (("e_tag", tag), ("version", generation)) if value}
        with self._explained(path):
            try:
                obstore.put(self._store, path, data, mode=expected)  # type: ignore[arg-type]
            except (PreconditionError, AlreadyExistsError, FileNotFoundError):
                return False
        return True

    def version(self, path: str) -> str | None:
        with self._explained(path):
            try:
                meta = obstore.head(self._store, path)
            except FileNotFoundError:
                return None
        return f"{meta['e_tag'] or ''}\n{meta['version'] or ''}"

    def read(self, path: str) -> bytes:
        with self._explained(path):
            return bytes(obstore.get(self._store, path).bytes())

    def names(self, folder: str) -> list[str]:
        with self._explained(folder):
            found = obstore.list_with_delimiter(self._store, folder or None)
        paths = [meta["path"] for meta in found["objects"]] + list(found["common_prefixes"])
        return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)

    def delete(self, path: str) -> None:
        with self._explained(path):
            try:
                obstore.delete(self._store, path)
            except FileNotFoundError:
                return

    def lock(self, path: str) -> nullcontext[None]:
        """Holds nobody up: conditional replacement is the fence here."""
        return nullcontext()

    def _no_bucket(self, path: str) -> ServiceError:
        return ServiceError("no such bucket or container", where=f"{self.root}/{path}",
                            next_step="create the bucket, or check tables.root")

    @contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        """Turns what obstore raises into the error tree; AlreadyExists and the like are the callers' own."""
        where = f"{self.root}/{path}"
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as e:
            raise ServiceError(f"the object store refused: {_brief(e)}", where=where,
                               next_step="check the credentials and the bucket's policy") from e
        except NotSupportedError as e:
            raise ConfigError(f"the object store cannot do this: {_brief(e)}", where=where,
                              next_step="use a store with conditional writes") from e
        except BaseError as e:
            raise ServiceError(f"the object store did not answer: {_brief(e)}", where=where,
                               next_step="check the endpoint and the network; retried meanwhile") from e


def _brief(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]
