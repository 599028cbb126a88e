"""The demo's table fits the terminal and is whole where there is none."""

import pytest
from rich.console import Console

from service.demo.few import FewShotResult
from service.demo.job import Latency, Outcome
from service.demo.table import BAR, render

FEW = FewShotResult(
    head="parcelpost/few",
    examples=30,
    held_out=400,
    points=((0, 0.67), (400, 0.932)),
    right_first=334,
    sent=400,
    versions=1,
)


def outcome(head: str, about: str, backbone: str) -> Outcome:
    latency = Latency(0.0155, 0.0177)
    return Outcome(
        head=head,
        about=about,
        backbone=backbone,
        classes=3,
        examples=1500,
        held_out=500,
        family="lda",
        estimated_accuracy=0.755,
        estimated_low=0.724,
        estimated_high=0.784,
        held_out_accuracy=0.742,
        upload_seconds=5.8,
        training_seconds=0.6,
        cold=latency,
        cached=latency,
        rest_cached=latency,
        feedback=20,
        anothers_key="NOT_FOUND",
    )


OUTCOMES = [
    outcome("loomworks/fabric", "photos of textiles", "efficientnet/lite0"),
    outcome("parcelpost/digits", "handwritten digits", "efficientnet/lite0"),
    outcome("listenup/sentiment", "short texts", "minilm/l6-v2"),
]


@pytest.mark.parametrize("width", [80, 60])
def test_table_fits_the_terminal_and_cuts_nothing(width: int) -> None:
    lines = render(OUTCOMES, FEW, [], width).plain.splitlines()
    assert max(map(len, lines)) <= width
    pieces = " ".join(lines).replace("/", "/ ").split()
    for row in OUTCOMES:
        for text in (row.head, row.about, row.backbone):
            assert all(word in pieces for word in text.replace("/", "/ ").split())
    assert "█" * round(0.932 * BAR) in pieces


def test_without_a_terminal_a_row_is_one_line() -> None:
    console = Console(width=80, color_system=None)
    metric = "trunkline_requests_total" + "x" * 100
    with console.capture() as captured:
        console.print(render(OUTCOMES, FEW, [metric]), soft_wrap=True)
    lines = captured.get().splitlines()
    assert any(
        line.split("  ")[0] == "backbone" and line.count("efficientnet/lite0") == 2
        for line in lines
    )
    assert metric in lines
