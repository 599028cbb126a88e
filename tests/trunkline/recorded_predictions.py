"""The recording server's methods about embeddings and predictions."""

import struct
from typing import Any

from tests.trunkline.recorded_state import FINGERPRINT, State, digest_of, refuse
from trunkline.v1 import common_pb2, extraction_pb2, heads_pb2, prediction_pb2


class RecordedPredictions(State):
    def ListBackbones(self, request: Any, context: Any) -> Any:
        self._record("ListBackbones", request, context)
        return extraction_pb2.ListBackbonesResponse(backbones=self.backbones.values())

    def Embed(self, request: Any, context: Any) -> Any:
        self._record("Embed", request, context)
        digests = [digest_of(item) for item in request.inputs]
        data = b"".join(struct.pack("<f", int(item[:4], 16)) for item in digests)
        return extraction_pb2.EmbedResponse(
            backbone=request.backbone or "minilm/l6-v2",
            fingerprint=FINGERPRINT,
            embeddings=common_pb2.Tensor(dtype="float32", shape=[len(digests), 1], data=data),
            digests=digests,
            errors=[
                self._error(row, "bad") for row, d in enumerate(digests) if d in self.bad_digests
            ],
        )

    def Predict(self, request: Any, context: Any) -> Any:
        self._record("Predict", request, context)
        head = self._head(request.head, context)
        if not head.active_version:
            refuse(context, "FAILED_PRECONDITION", "no active version", field="head")
        digests = [digest_of(item) for item in request.inputs]
        good = [row for row, name in enumerate(digests) if name not in self.bad_digests]
        count = min(request.top_k or len(head.labels), len(head.labels))
        known = self.examples.get(head.name, {})
        indices, probabilities = [], []
        for row in good:
            label = known.get(digests[row]) or head.labels[0]
            first = list(head.labels).index(label)
            rest = [index for index in range(len(head.labels)) if index != first]
            indices += [first, *rest][:count]
            probabilities += [0.75, *[0.25 / max(1, len(rest))] * len(rest)][:count]
        cells = len(indices)
        group = prediction_pb2.HeadPredictions(
            head=head.name,
            version=request.version or head.active_version,
            labels=head.labels,
            rows=good,
            live=head.policy == heads_pb2.FEEDBACK_POLICY_IMMEDIATE and head.name in self.feedback,
            indices=common_pb2.Tensor(
                dtype="uint32", shape=[len(good), count], data=struct.pack(f"<{cells}I", *indices)
            ),
            probabilities=common_pb2.Tensor(
                dtype="float32",
                shape=[len(good), count],
                data=struct.pack(f"<{cells}f", *probabilities),
            ),
        )
        for _ in good if request.neighbours else ():
            near = [name for name, label in known.items() if label is not None]
            reason = group.neighbours.add()
            for name in near[: request.neighbours]:
                reason.neighbours.add(digest=name, label=known[name] or "", similarity=0.5)
        if request.HasField("conformal_level"):
            # A set of all classes but the last, and an empty one for the last row.
            members = list(range(len(head.labels) - 1))
            sizes = [len(members)] * (len(good) - 1) + [0]
            indices = members * (len(good) - 1)
            group.set_sizes.CopyFrom(_uint32(sizes))
            group.set_indices.CopyFrom(_uint32(indices))
        if head.spec.HasField("novelty"):
            # What was never labelled is novel.
            group.novel.extend(digests[row] not in known for row in good)
            group.abstains = head.spec.novelty.abstain
            values = [1.5 if novel else 0.5 for novel in group.novel]
            data = struct.pack(f"<{len(values)}f", *values)
            group.novelty.CopyFrom(
                common_pb2.Tensor(dtype="float32", shape=[len(values)], data=data)
            )
        if head.HasField("decide"):
            # What was labelled is accepted.
            accept, review = prediction_pb2.DECISION_ACCEPT, prediction_pb2.DECISION_REVIEW
            group.decisions.extend(accept if digests[row] in known else review for row in good)
        errors = [
            self._error(row, "cannot be decoded") for row in range(len(digests)) if row not in good
        ]
        return prediction_pb2.PredictResponse(
            predictions=[group] if good else [], digests=digests, errors=errors
        )

    def Classify(self, request: Any, context: Any) -> Any:
        self._record("Classify", request, context)
        labels = sorted({example.label for example in request.examples})
        digests = [digest_of(item) for item in request.inputs]
        good = [row for row, name in enumerate(digests) if name not in self.bad_digests]
        group = prediction_pb2.HeadPredictions(
            labels=labels,
            rows=good,
            indices=_uint32([0] * len(good)),
            probabilities=common_pb2.Tensor(
                dtype="float32",
                shape=[len(good), 1],
                data=struct.pack(f"<{len(good)}f", *[0.75] * len(good)),
            ),
        )
        group.indices.shape[:] = [len(good), 1]
        bad = [
            row
            for row, example in enumerate(request.examples)
            if digest_of(example.input) in self.bad_digests
        ]
        return prediction_pb2.ClassifyResponse(
            predictions=group,
            digests=digests,
            errors=[self._error(row, "bad") for row in range(len(digests)) if row not in good],
            backbone=request.backbone or "minilm/l6-v2",
            example_errors=[self._error(row, "bad") for row in bad],
            truncated_examples=[len(request.examples) - 1],
            family="prototype",
            estimate=heads_pb2.Estimate(method="leave-one-out", accuracy=1.0),
        )

    def SendFeedback(self, request: Any, context: Any) -> Any:
        seen = [row.id in self.feedback_ids for row in request.feedback]
        self.feedback_ids |= {row.id for row in request.feedback}
        self._record("SendFeedback", request, context)
        digests = [digest_of(row.input) for row in request.feedback]
        log = self.feedback.setdefault(request.head, [])
        for row, name, duplicate in zip(request.feedback, digests, seen, strict=True):
            if name not in self.bad_digests and not duplicate:
                log.append(
                    heads_pb2.FeedbackRecord(
                        id=row.id,
                        digest=name,
                        label=row.label,
                        state=heads_pb2.FEEDBACK_STATE_LIVE,
                        active_version=1,
                        active_right=False,
                        live_right=True,
                    )
                )
        return prediction_pb2.SendFeedbackResponse(
            ids=[row.id for row in request.feedback],
            digests=digests,
            duplicates=seen,
            errors=[
                self._error(row, "cannot be decoded")
                for row, name in enumerate(digests)
                if name in self.bad_digests
            ],
        )


def _uint32(values: list[int]) -> common_pb2.Tensor:
    data = struct.pack(f"<{len(values)}I", *values)
    return common_pb2.Tensor(dtype="uint32", shape=[len(values)], data=data)
