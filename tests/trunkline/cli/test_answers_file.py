"""What `trunkline predict --resume` finds in a file that was cut anywhere."""

from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline import Text
from trunkline.cli.predictions.answers_file import read_answers
from trunkline.cli.predictions.rows import ENCODING, Form
from trunkline.values.outcomes import Prediction, RowFailure

NAMES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\r\n,\udcff'), min_size=1),
    max_size=6,
)


@pytest.mark.parametrize("as_csv", [True, False])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(names=NAMES, data=st.data())
def test_exactly_the_whole_rows_are_found(
    tmp_path: Path, as_csv: bool, names: list[str], data: st.DataObject
) -> None:
    form = Form("acme/mood", 2, as_csv=as_csv, as_json=not as_csv)
    good = Prediction("a, b", 0.75, {"a, b": 0.75, 'c"': 0.25}, "d" * 64, "acme/mood", 3)
    bad = RowFailure(0, "INVALID_ARGUMENT", "it\nbroke")
    outcomes = [good if row % 2 else bad for row in range(len(names))]
    rows = [
        form.row(Text(name), outcome).encode(*ENCODING)
        for name, outcome in zip(names, outcomes, strict=True)
    ]
    header = form.header.encode()
    content = header + b"".join(rows)
    cut = data.draw(st.integers(0, len(content)))
    path = tmp_path / "answers"
    path.write_bytes(content[:cut])
    found = read_answers(path, form)
    ends = [0, *(len(header) + end for end in accumulate(map(len, rows), initial=0))]
    whole = max(end for end in ends if end <= cut)
    count = sum(end <= cut for end in ends[2:])
    assert (found.end, found.half, found.rows) == (whole, cut - whole, count)
    assert found.failed == sum(isinstance(row, RowFailure) for row in outcomes[:count])
    assert found.versions == ({3} if count > 1 else set())
    assert all(found.take(Text(name)) for name in names[:count])
    assert found.inputs.total() == 0
