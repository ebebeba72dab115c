"""Have the documents, or memory, changed?  Signals over a sliding window of documents against a reference window.

Signals, by domain and label (label "" = all of the domain's):

    disagreement   share of mentions that memory carried against the text (w_s > 0, the text alone says less than 1/2)
    text_entropy   mean entropy of the text's own probability, in bits
    novelty        share of mentions that memory knew nothing of (w_s = 0)
    dead_letters   share of records that could not be read
    corrections    operations of reviewers a record (corrections, reviews, withdrawals)

The reference is the first `size` records that the shard ever read with these tables; it is kept next to them
(``_drift/``) and stays until that file is deleted.  Drift is |window - reference| / (TOLERANCE + 3 standard errors), in
[0, inf): from 1 on a signal moved by more than five points beyond what chance does.  Documents, not mentions, count as
independent.  Sums are integers, so the same records give the same numbers.  What memory suppressed is not seen: tables
and signals know mentions that were read.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from kie_ops.records import DeadLetter, Mention, Reading
from pipelines import logs
from pipelines.metrics import METRICS, Metrics
from pipelines.storage import Storage

SIGNALS = ("disagreement", "text_entropy", "novelty", "dead_letters", "corrections")
TOLERANCE = 0.05
ERRORS = 3.0
LEAST = 30
"""Documents with a signal in both windows from which on drift is told."""
BACK = 0.8
"""A signal that crossed the threshold is back below this part of it."""
UNIT = 1_000
MAX_DOMAINS = 20
"""Domains stand in the documents: more than so many are counted as one, so that metrics stay bounded."""
OTHERS = "(others)"
FOLDER = "_drift"

Key = tuple[str, str, str]
"""(signal, domain, label)."""
Sums = dict[Key, tuple[int, int]]
"""Of one record by key: (sum in thousandths, things counted)."""


@dataclass(frozen=True, slots=True)
class Drifted:
    """One signal at one moment.  `now`, `reference`: its level in the windows; `drift` in [0, inf)."""

    signal: str
    domain: str
    label: str
    now: float
    reference: float
    drift: float


@dataclass
class Window:
    """The last `size` records, or with `full_once` the first."""

    size: int
    full_once: bool = False
    totals: dict[Key, list[int]] = field(default_factory=dict)
    """By key: sum in thousandths, things counted, records that had any."""
    _records: deque[Sums] = field(default_factory=deque)

    @property
    def full(self) -> bool:
        return len(self._records) >= self.size

    def push(self, record: Sums) -> None:
        if self.full and self.full_once:
            return
        self._records.append(record)
        self._count(record, 1)
        if len(self._records) > self.size:
            self._count(self._records.popleft(), -1)

    def level(self, key: Key) -> float | None:
        total, count, _ = self.totals.get(key, (0, 0, 0))
        return total / UNIT / count if count else None

    def _count(self, record: Sums, sign: int) -> None:
        for key, (total, count) in record.items():
            have = self.totals.setdefault(key, [0, 0, 0])
            for i, more in enumerate((total, count, 1)):
                have[i] += sign * more
            if not have[2]:
                del self.totals[key]


class Drift:
    """Watches the records of one shard.  Not safe among threads."""

    def __init__(self, domain: str, *, size: int = 500, threshold: float = 1.0) -> None:
        self.domain, self.size, self.threshold = domain, size, threshold
        self.window = Window(size)
        self.reference = Window(size, full_once=True)
        self._domains: set[str] = {domain}
        self._corrections = 0
        self._said: int | None = None
        self._crossed: set[Key] = set()

    # -- what happens -----------------------------------------------------------------------------------------------

    def read(self, readings: Iterable[Reading], letters: Iterable[DeadLetter]) -> None:
        """The records of one committed batch."""
        for reading in readings:
            self._push({**_of_mentions(self._known(reading.document.domain or self.domain), reading.mentions),
                        ("dead_letters", self.domain, ""): (0, 1)})
        for _ in letters:
            self._push({("dead_letters", self.domain, ""): (UNIT, 1)})

    def corrected(self, position: int) -> None:
        """Where the chain of corrections stands now; those before the first call are of the past."""
        if self._said is not None:
            self._corrections += max(0, position - self._said)
        self._said = position

    def _push(self, record: Sums) -> None:
        record["corrections", self.domain, ""] = self._corrections * UNIT, 1
        self._corrections = 0
        if self.reference.full:
            self.window.push(record)
        else:
            self.reference.push(record)

    def _known(self, domain: str) -> str:
        if domain not in self._domains and len(self._domains) >= MAX_DOMAINS:
            return OTHERS
        self._domains.add(domain)
        return domain

    # -- what is told -----------------------------------------------------------------------------------------------

    def levels(self) -> Iterator[Drifted]:
        """Every signal that both windows have enough records of, in order of signal, domain and label."""
        for key in sorted(self.window.totals.keys() & self.reference.totals.keys()):
            now, then = self.window.totals[key], self.reference.totals[key]
            if min(now[2], then[2]) >= LEAST:
                yield Drifted(*key, now[0] / UNIT / now[1], then[0] / UNIT / then[1], drift(now, then))

    def tell(self, metrics: Metrics = METRICS) -> list[Drifted]:
        """Sets the gauges, and logs what crossed the threshold since the last call or came back; those that crossed."""
        crossed = []
        for (signal, domain, label) in sorted(self.window.totals):
            level = self.window.level((signal, domain, label))
            if level is not None:
                metrics.window.labels(signal, domain, label).set(level)
        for found in self.levels():
            key = found.signal, found.domain, found.label
            metrics.drift.labels(*key).set(found.drift)
            if key not in self._crossed and found.drift >= self.threshold:
                self._crossed.add(key)
                crossed.append(found)
                self._log("drift: this stream is not what it was", found)
            elif key in self._crossed and found.drift < BACK * self.threshold:
                self._crossed.remove(key)
                self._log("drift is over", found)
        return crossed

    def _log(self, event: str, found: Drifted) -> None:
        say = logs.get().warning if found.drift >= self.threshold else logs.get().info
        say(event, signal=found.signal, domain=found.domain, label=found.label, now=round(found.now, 4),
            reference=round(found.reference, 4), drift=round(found.drift, 2), threshold=self.threshold)

    # -- the reference over restarts --------------------------------------------------------------------------------

    def dump(self) -> str:
        """The full reference as JSON: equal references give equal texts."""
        rows = [[*key, *totals] for key, totals in sorted(self.reference.totals.items())]
        return json.dumps({"size": self.size, "totals": rows}, ensure_ascii=False)

    def load(self, text: str) -> bool:
        """Takes a reference of :meth:`dump`; False, with nothing changed, where it is of another size or none."""
        try:
            data = json.loads(text)
            totals = {(str(s), str(d), str(label)): [int(n) for n in counts]
                      for s, d, label, *counts in data["totals"]}
            if data["size"] != self.size or any(len(counts) != 3 for counts in totals.values()):
                return False
        except (ValueError, KeyError, TypeError):
            return False
        self.reference = Window(self.size, full_once=True, totals=totals, _records=deque([{}] * self.size))
        return True


def drift(now: list[int], then: list[int]) -> float:
    """|now - then| / (TOLERANCE + ERRORS standard errors) of (sum in thousandths, things counted, records)."""
    a, b = now[0] / UNIT / now[1], then[0] / UNIT / then[1]
    pooled = (now[0] + then[0]) / UNIT / (now[1] + then[1])
    share = min(pooled, 1.0)
    variance = max(share * (1 - share), pooled - 1, 1 / (now[2] + then[2]))     # a rate above 1 varies as its mean
    return abs(a - b) / (TOLERANCE + ERRORS * math.sqrt(variance * (1 / now[2] + 1 / then[2])))


def open_drift(storage: Storage, domain: str, name: str, *, size: int, threshold: float) -> Drift:
    """The drift of one shard, with the reference of earlier runs where there is one."""
    out = Drift(domain, size=size, threshold=threshold)
    try:
        text = storage.read(_path(name)).decode()
    except FileNotFoundError:
        return out
    if not out.load(text):
        logs.get().warning("the reference of drift is of another window: it is taken anew", where=_path(name))
    return out


def keep(storage: Storage, name: str, drift: Drift) -> None:
    """Writes the reference, once it is whole."""
    if drift.reference.full:
        storage.replace(_path(name), drift.dump().encode())


def _path(name: str) -> str:
    return f"{FOLDER}/{name}.json"


def _of_mentions(domain: str, mentions: Iterable[Mention]) -> Sums:
    sums: dict[Key, list[int]] = {}
    for mention in mentions:
        for signal, value in _signals(mention).items():
            for label in ("", mention.label):
                have = sums.setdefault((signal, domain, label), [0, 0])
                have[0] += value
                have[1] += 1
    return {key: (total, count) for key, (total, count) in sums.items()}


def _signals(mention: Mention) -> Mapping[str, int]:
    """Of one mention, in thousandths."""
    knew = mention.soft_weight > 0
    return {
        "disagreement": UNIT * (knew and mention.text_score < 0.5), "novelty": UNIT * (not knew),
        "text_entropy": round(UNIT * entropy(mention.text_score)),
    }


def entropy(p: float) -> float:
    """Of a yes or no with probability `p`, in bits."""
    return 0.0 if p <= 0 or p >= 1 else -(p * math.log2(p) + (1 - p) * math.log2(1 - p))
