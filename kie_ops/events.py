"""Events: a trigger with the arguments of its sentence.

Where a sentence has several triggers, an argument goes to the nearest.  Cues (of negation, speculation, severity)
become attributes whose value is the cue as it stands in the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kie_ops.decisions import Decision
from kie_ops.domain import EventScheme
from kie_ops.records import Argument, Document, Event, Mention, span_id
from kie_ops.text_reading import TextReading


@dataclass(frozen=True, slots=True)
class Frame:
    """A trigger with its arguments and cues."""

    trigger: Decision
    arguments: tuple[Decision, ...]
    cues: tuple[Decision, ...]


def frames(sentence_of: np.ndarray, decisions: Sequence[Decision], rules: EventScheme) -> list[Frame]:
    """The events of one document, in order of their triggers.  `sentence_of`: int [words]."""
    triggers = [d for d in decisions if d.label in rules.triggers]
    by_sentence: dict[int, list[int]] = {}
    for n, trigger in enumerate(triggers):
        by_sentence.setdefault(int(sentence_of[trigger.first]), []).append(n)
    taken: list[list[Decision]] = [[] for _ in triggers]
    for d in decisions:
        if d.label in rules.roles or d.label in rules.attributes:
            near = by_sentence.get(int(sentence_of[d.first]), ())
            if near:
                taken[min(near, key=lambda n: (_gap(triggers[n], d), n))].append(d)
    return [
        Frame(t, tuple(d for d in some if d.label in rules.roles),
              tuple(d for d in some if d.label in rules.attributes))
        for t, some in zip(triggers, taken, strict=True)
    ]


def events(
    reading: TextReading, decisions: Sequence[Decision], rules: EventScheme, mentions: Sequence[Mention]
) -> list[Event]:
    """Events as records; an argument names the emitted mention it is equal to, else the one it shares most with."""
    document = reading.document
    at = _Mentions(mentions)
    out = []
    for frame in frames(reading.sentence_of(), decisions, rules):
        start, end = reading.span(frame.trigger.first, frame.trigger.last)
        label = rules.triggers[frame.trigger.label]
        arguments = sorted(
            (_argument(reading, d, rules.roles, at) for d in frame.arguments), key=lambda a: (a.role, a.start, a.end)
        )
        cues = sorted(frame.cues, key=lambda d: (d.label, -d.score, d.first, d.last), reverse=True)
        attributes = {rules.attributes[d.label]: _text(document, reading.span(d.first, d.last)) for d in cues}
        out.append(Event(
            event_id=span_id(document.place, document.doc_id, "event", start, end, label), label=label, start=start,
            end=end, trigger=document.text[start:end], score=frame.trigger.score, arguments=tuple(arguments),
            attributes=dict(sorted(attributes.items())),
        ))
    return out


class _Mentions:
    """Mentions by the characters they cover."""

    def __init__(self, mentions: Sequence[Mention]) -> None:
        self._at: dict[int, list[Mention]] = {}
        for m in mentions:
            for block in range(m.start // 64, m.end // 64 + 1):
                self._at.setdefault(block, []).append(m)

    def best(self, start: int, end: int) -> str | None:
        near = {m.mention_id: m for b in range(start // 64, end // 64 + 1) for m in self._at.get(b, ())}
        shared = [
            (max(start, m.start) - min(end, m.end), abs(m.start - start) + abs(m.end - end), m.start, m.mention_id)
            for m in near.values() if m.start < end and start < m.end
        ]
        return min(shared)[3] if shared else None


def _argument(reading: TextReading, d: Decision, roles: Mapping[str, str], at: _Mentions) -> Argument:
    start, end = reading.span(d.first, d.last)
    return Argument(roles[d.label], start, end, _text(reading.document, (start, end)), d.score, at.best(start, end))


def _text(document: Document, span: tuple[int, int]) -> str:
    return document.text[span[0] : span[1]]


def _gap(a: Decision, b: Decision) -> int:
    return max(0, b.first - a.last, a.first - b.last)
