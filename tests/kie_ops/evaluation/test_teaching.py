from kie_ops.evaluation.teaching import as_json, reject_once, teach_once
from tests.kie_ops.evaluation.stream_fixtures import stream


def test_a_name_taught_once_is_found_ever_after() -> None:
    found = teach_once(stream(3), {}, orders=2)
    assert found.keys == 2  # zorvanex missed, zinc under another label
    assert found.off.recall == 0
    assert found.on.recall == found.on.precision == found.on.f1 == 1
    assert found.gold == 8 + 2


def test_a_span_rejected_once_does_not_come_back() -> None:
    found = reject_once(stream(3), {}, orders=1)
    assert found.keys == 1  # the ward; zinc under another label is a mention all the same
    assert found.would_come == 5
    assert found.comes_back == 0
    assert found.lost is None


def test_as_json() -> None:
    assert set(as_json(teach_once(stream(1), {}, orders=1))) == {"keys", "gold", "off", "on"}
    assert set(as_json(reject_once(stream(1), {}, orders=1))) == {"keys", "would_come", "comes_back", "gold", "lost"}
