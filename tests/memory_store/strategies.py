"""Increments as documents make them: few keys and fields, so that they meet."""

from __future__ import annotations

from hypothesis import strategies as st

from kie_ops.memory import PROTOTYPE_WIDTH, Increment, field, pair_key

KEYS = ["aspirin", "Größe", "纽约", "a/b", "", "x y", "\U0001f9ea", pair_key("aspirin", "headache")]
FIELDS = [
    field("self", "bc5cdr", "entity", "Chemical"),
    field("self", "bc5cdr", "none"),
    field("training", "bc5cdr", "prototype", "Chemical"),
    field("reviewer", "ncbi", "concept", "Disease", "MESH:D006261"),
]
components = st.one_of(st.integers(-127, 127), st.integers(-(2**33), 2**33))
vectors = st.tuples(components, components, components).map(lambda t: (*t, *[t[0]] * (PROTOTYPE_WIDTH - 3)))
increments = st.builds(
    Increment, st.sampled_from(KEYS), st.sampled_from(FIELDS), st.integers(-2, 3), st.none() | vectors,
)
batches = st.lists(increments, max_size=12)
