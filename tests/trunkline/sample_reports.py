"""Reports with every part filled in, as a server would send them."""

import struct
from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from trunkline.v1 import common_pb2, heads_pb2

DIGEST, OTHER = "0a" * 32, "0b" * 32
NAME = ""
"""The external id of the example with DIGEST; empty for none."""


def estimate(accuracy: float = 0.9, method: str = "leave-one-out") -> heads_pb2.Estimate:
    return heads_pb2.Estimate(
        method=method,
        accuracy=accuracy,
        accuracy_low=accuracy - 0.1,
        accuracy_high=accuracy + 0.05,
        log_loss=0.3,
        examples=18,
        groups=7,
        effective_examples=6.5,
        optimism=0.01,
    )


def evaluation(
    labels: Sequence[str], confusion: Sequence[Sequence[int]], method: str = "leave-one-out"
) -> heads_pb2.Evaluation:
    counts = [count for row in confusion for count in row]
    return heads_pb2.Evaluation(
        estimate=estimate(method=method),
        classes=[
            heads_pb2.ClassReport(
                label=label, examples=sum(row), precision=0.9, recall=0.8, f1=0.85
            )
            for label, row in zip(labels, [*confusion, *[[0]] * len(labels)], strict=False)
        ],
        confusion=common_pb2.Tensor(
            dtype="uint32",
            shape=[len(confusion)] * 2,
            data=struct.pack(f"<{len(counts)}I", *counts),
        ),
        expected_calibration_error=0.031,
        reliability=[
            heads_pb2.ReliabilityBin(examples=5, confidence=0.6, accuracy=0.55),
            heads_pb2.ReliabilityBin(examples=6, confidence=0.95, accuracy=0.97),
        ],
    )


def decision_curve() -> heads_pb2.DecisionCurve:
    """A head that is right where it is sure, and accepts 8 of 16 by its rule."""
    points = [
        heads_pb2.DecisionPoint(
            threshold=1 - count / 16,
            accepted=count,
            share=count / 16,
            right=right,
            precision=right / count,
            precision_low=right / count - 0.1,
            precision_high=min(1.0, right / count + 0.05),
            effective=float(count),
        )
        for count, right in ((4, 4), (8, 8), (12, 11), (16, 14))
    ]
    accepted = heads_pb2.Acceptance(
        version=1,
        threshold=0.5,
        share=0.5,
        precision=1.0,
        precision_low=0.81,
        precision_high=1.0,
        accepted=8,
        examples=16,
    )
    rule = heads_pb2.Decide(precision=0.8, confidence=0.95, acceptance=accepted)
    return heads_pb2.DecisionCurve(points=points, examples=16, decide=rule)


def full_report(
    name: str,
    version: int,
    labels: Sequence[str],
    confusion: Sequence[Sequence[int]] | None = None,
) -> heads_pb2.HeadReport:
    """A report of a head with two labels at least."""
    count = len(labels)
    confusion = confusion or [[8 if i == j else 1 for j in range(count)] for i in range(count)]
    evaluated = evaluation(labels, confusion)
    return heads_pb2.HeadReport(
        head=name,
        version=version,
        family="ridge",
        spec=heads_pb2.HeadSpec(family="auto", seed=3),
        backbone="minilm/l6-v2",
        fingerprint="ab" * 32,
        example_count=18,
        truncated_count=2,
        groups=heads_pb2.GroupReport(
            count=7, named=3, near_copies_within=5, near_copies_across=1, missed=0.004
        ),
        warnings=["Of class 'ys' there is a single example. Was 'yes' meant?"],
        classes=evaluated.classes,
        estimate=estimate(),
        l2=0.5,
        temperature=1.25,
        train_seconds=0.5,
        train_cpu_seconds=0.4,
        candidates=[
            heads_pb2.Candidate(family="ridge", l2=0.5, estimate=estimate(), chosen=True),
            heads_pb2.Candidate(family="prototype", estimate=estimate(0.7)),
            heads_pb2.Candidate(family="lda"),
        ],
        evaluation=evaluated,
        test=evaluation(labels, confusion, "held-out"),
        learning_curve=[
            heads_pb2.LearningPoint(examples=count, accuracy=accuracy)
            for count, accuracy in ((2, 0.5), (4, 0.7), (9, 0.8), (18, 0.9))
        ],
        likely_mislabelled=[
            heads_pb2.LikelyMislabelled(
                digest=DIGEST,
                label=labels[0],
                predicted_label=labels[1],
                label_probability=0.02,
                predicted_probability=0.97,
                external_id=NAME or None,
            )
        ],
        near_duplicates=[
            heads_pb2.NearDuplicates(
                digest=DIGEST,
                label=labels[0],
                other_digest=OTHER,
                other_label=labels[1],
                similarity=0.998,
                external_id=NAME or None,
            )
        ],
        decisions=decision_curve(),
        augmentation=heads_pb2.AugmentationReport(
            views=4,
            used="examples",
            augmented_examples=17,
            without=estimate(0.85),
            as_examples=estimate(0.9),
        ),
        novelty=heads_pb2.NoveltyReport(
            false_alarm_rate=0.05, threshold=0.61, kept=18, neighbour=3, abstain=True
        ),
        fine_tuning=heads_pb2.FineTuningReport(
            strategy="gradual",
            used=True,
            reason="it is better",
            without_tail=estimate(0.85),
            with_tail=estimate(0.9),
            seconds_without=0.5,
            seconds_with=75.25,
            bytes_without=12_000,
            bytes_with=4_200_000,
            blocks=["blocks.3", "blocks.4"],
            epochs=2,
            curve=[
                heads_pb2.TuningEpoch(
                    epoch=epoch, loss=loss, validation_loss=held_out, validation_accuracy=accuracy
                )
                for epoch, loss, held_out, accuracy in (
                    (1, 0.6, 0.5, 0.8),
                    (2, 0.3, 0.25, 0.9),
                    (3, 0.1, 0.3, 0.85),
                )
            ],
            epoch_seconds=3.5,
            views="flips",
            view_count=3,
            tried=[
                heads_pb2.ViewTrial(
                    views="flips",
                    count=3,
                    folds=5,
                    epochs=2,
                    estimate=estimate(0.89),
                    without=estimate(0.87),
                    chosen=True,
                    reason="chosen: the log-loss is lower than without",
                ),
                heads_pb2.ViewTrial(views="crops", count=3, reason="not tried: too few epochs"),
            ],
            averaged=estimate(0.91),
        ),
        online=[
            heads_pb2.OnlineAccuracy(
                feedback=count,
                scored=10,
                active_accuracy=active,
                live_accuracy=live,
                time=Timestamp(seconds=1_700_000_000 + count),
            )
            for count, active, live in ((10, 0.7, 0.6), (20, 0.7, 0.9))
        ],
    )
