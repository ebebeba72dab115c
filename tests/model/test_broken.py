"""The model can fail: each break of the code, made on purpose, is found within a few thousand states."""

from __future__ import annotations

import inspect
import textwrap
from types import ModuleType
from typing import Any

import pytest

from memory_store import local
from pipelines import commit_log, ledger, publisher, segments, tombstones, worker
from tests.model.explorer import Explorer
from tests.model.scenarios import SCENARIOS

BREAKS: dict[str, tuple[ModuleType, str, str, str, str, str]] = {
    # what is broken: module, function, its text, the text instead; scenario; the law that breaks
    "a commit that replaces what is there": (
        commit_log, "Log.commit", "not self.storage.create(path, encode(transaction))",
        "self.storage.replace(path, encode(transaction))", "a correction and its undo", "chain"),
    "a commit that does not look at the floor": (
        commit_log, "Log.commit", "start < self.floor()", "False", "two workers on one partition", "chain"),
    "an application that does not compare positions": (
        local, "LocalStore._advance", "at != start", "at >= end", "two workers on one partition", "memory"),
    "an application that does not ask for erasures": (
        local, "LocalStore.apply", "self._positions.get(ERASURES, 0) != erasures", "False",
        "an erasure beside two workers", "memory"),
    "a publication that is not fenced": (
        segments, "Publication.write", "not replace(path, files[path], self._versions.get(path), durable=durable)",
        "self.storage.replace(path, files[path])",
        "two workers on one partition, object store", "tables"),
    "a publication that does not hide what was erased": (
        segments, "publish", "hide(list(log.transactions(first, segment.end, keep=True)))",
        "list(log.transactions(first, segment.end, keep=True))", "an erasure", "erased"),
    "a floor that moves before the tables are written": (
        publisher, "Publisher._close", "manifest.to", "manifest.to + self._size", "two workers on one partition",
        "chain"),
    "files below the floor that nobody sweeps": (
        publisher, "Publisher.publish", "log.sweep()", "pass", "two workers on one partition", "chain"),
    "a scrub that leaves the log": (
        tombstones, "scrub", "_scrub_log(log, place.offset)", "pass", "an erasure", "erased"),
    "a tick that looks at documents alone": (
        worker, "Worker.publish", "self._lacks(positions)", "False", "a correction and its undo", "tick"),
    "evictions that are looked for only before the tombstone": (
        ledger, "Ledger.forget", "evicted += self._bury_evictions({*places, *begun})", "pass",
        "an eviction and an erasure", "memory"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_promise_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, function, text, instead, scenario, law = BREAKS[name]
    broken(monkeypatch, module, function, text, instead)
    (chosen,) = [s for s in SCENARIOS if s.name == scenario]
    report = Explorer(chosen, states=4_000).run()
    assert report.violations, report
    assert report.violations[0].said.startswith(f"{law}: "), report.violations[0]


def broken(monkeypatch: pytest.MonkeyPatch, module: ModuleType, function: str, text: str, instead: str) -> None:
    """Replaces `text` in the source of a function or method."""
    owner: Any = module
    *classes, name = function.split(".")
    for each in classes:
        owner = getattr(owner, each)
    source = textwrap.dedent(inspect.getsource(getattr(owner, name)))
    assert text in source, f"{function} reads otherwise now"
    space: dict[str, Any] = {}
    exec(compile("from __future__ import annotations\n" + source.replace(text, instead), module.__file__ or "", "exec"),
         vars(module) | {}, space)
    monkeypatch.setattr(owner, name, space[name])
