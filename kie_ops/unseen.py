"""Schemes that no head was trained for, admitted to a domain so that streams of them can be read: by memory alone.

The text says nothing of such labels (no span is a candidate by itself, h is at its lower bound), and where memory has
evidence it decides alone: w_s = 1, m by the weights that another scheme's gate has learnt.  With memory off nothing is
found, and that is what a domain that was never trained for a label does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kie_ops.candidates import FEATURES
from kie_ops.domain import Domain, Output, Scheme
from kie_ops.errors import InputError
from kie_ops.extractor import Extractor
from kie_ops.gate import TEXT_BOUND, Gate, TextGate
from kie_ops.text_reading import SpanScores, TextReading

LONGEST = 16
"""Words of a span that an admitted scheme may have."""
CERTAIN = 40.0
"""Log-odds of the trust in memory where the text has no say."""


def admitted(extractor: Extractor, scheme: str, labels: Sequence[str]) -> tuple[Domain, Gate]:
    """The extractor's domain and gate with `scheme` in both, whether anything was trained for it or not.

    Raises InputError where the scheme is there but lacks one of `labels`.
    """
    domain, gate = extractor.definition, extractor.gate
    if scheme in domain.schemes:
        unknown = sorted(set(labels) - set(domain.schemes[scheme].labels))
        if unknown:
            raise InputError(
                f"{scheme} of {domain.name} has no label {unknown[0]}",
                next_step=f"map it to one of {', '.join(domain.schemes[scheme].labels)}, or give the data a name that "
                "is no scheme of the domain: its labels are then known to memory alone")
    else:
        domain = replace(domain, schemes={**domain.schemes, scheme: Scheme(tuple(labels), LONGEST)})
    names = domain.output.entities.get(scheme) or {label: label for label in labels}
    domain = replace(domain, output=Output({scheme: names}))
    if scheme not in gate.text:
        whose = min(gate.memory)
        mute = replace(gate.memory[whose], out=np.zeros_like(gate.memory[whose].out), out_bias=CERTAIN)
        gate = replace(
            gate, text={**gate.text, scheme: _silent()}, memory={**gate.memory, scheme: mute},
            thresholds={**gate.thresholds, scheme: 0.5},
        )
    return domain, gate


def scored(reading: TextReading, scheme: str, labels: Sequence[str]) -> SpanScores:
    """The reading's scores of `scheme`; where it has none, scores by which no span is possible."""
    if scheme in reading.spans:
        return reading.spans[scheme]
    return SpanScores(tuple(labels), np.full((len(reading.words), 1, len(labels)), -np.inf, dtype=np.float32))


def _silent() -> TextGate:
    """h at its lower bound whatever the features."""
    linear = np.zeros(len(FEATURES))
    linear[0] = 10 * TEXT_BOUND
    return TextGate(linear, np.zeros((len(FEATURES), 1)), np.zeros(1), np.zeros(1), {})
