"""The recording server's methods about examples."""

from typing import Any

from tests.trunkline.recorded_state import State, digest_of
from trunkline.v1 import heads_pb2


class RecordedExamples(State):
    def FindMissingInputs(self, request: Any, context: Any) -> Any:
        self._record("FindMissingInputs", request, context)
        known = self.examples[self._head(request.head, context).name]
        missing = [item for item in request.digests if item not in known]
        return heads_pb2.FindMissingInputsResponse(missing=missing)

    def AddExamples(self, request_iterator: Any, context: Any) -> Any:
        reply = heads_pb2.AddExamplesResponse()
        row = 0
        for request in request_iterator:
            self._record("AddExamples", request, context)
            known = self.examples[self._head(request.head, context).name]
            before = set(known)
            for example in request.examples:
                self._add(example, known, before, row, reply)
                self._tell(example, request, row, reply)
                row += 1
        return reply

    def _add(
        self,
        example: heads_pb2.NewExample,
        known: dict[str, str | None],
        before: set[str],
        row: int,
        reply: heads_pb2.AddExamplesResponse,
    ) -> None:
        name = digest_of(example.input)
        label = example.label if example.HasField("label") else None
        if example.input.WhichOneof("kind") == "digest" and name not in before:
            reply.errors.append(self._error(row, "unknown digest", "NOT_FOUND"))
            reply.failed += 1
        elif name in self.bad_digests:
            reply.errors.append(self._error(row, "cannot be decoded"))
            reply.failed += 1
        else:
            reply.added += name not in known
            if label and known.get(name) not in (None, label):
                self._change(reply, row, name, "LABEL_REPLACED", str(known[name]), label)
            reply.updated += name in known and known[name] != label
            reply.unchanged += name in known and known[name] == label
            known[name] = label
            stored = heads_pb2.NewExample()
            if name in self.inputs:
                stored.external_id = self.inputs[name].external_id
                stored.metadata.CopyFrom(self.inputs[name].metadata)
            if example.HasField("metadata"):
                stored.ClearField("metadata")
            stored.MergeFrom(example)
            self.inputs[name] = stored

    def _tell(self, example: Any, request: Any, row: int, reply: Any) -> None:
        """Tells of a correction what the real server would, which keeps it unless it overwrites."""
        name = digest_of(example.input)
        correction = self.corrections.get(name)
        if correction and request.overwrite:
            self._change(reply, row, name, "CORRECTION_REPLACED", correction, example.label)
        elif correction:
            self._change(reply, row, name, "CORRECTION_KEPT", example.label, correction)

    def _change(
        self, reply: Any, row: int, name: str, kind: str, from_label: str, to_label: str
    ) -> None:
        change = heads_pb2.UploadChange.Value(f"UPLOAD_CHANGE_{kind}")
        reply.changes.add(
            row=row, digest=name, change=change, from_label=from_label, to_label=to_label
        )
        rows = sum(item.change == change for item in reply.changes)
        others = [item for item in reply.change_counts if item.change != change]
        counted = heads_pb2.CountedChange(change=change, rows=rows)
        del reply.change_counts[:]
        reply.change_counts.extend([*others, counted])

    def ListExamples(self, request: Any, context: Any) -> Any:
        self._record("ListExamples", request, context)
        rows = [
            self._example(name, label)
            for name, label in self.examples[request.head].items()
            if not request.HasField("label") or label == request.label
            if not request.external_ids or self.inputs[name].external_id in request.external_ids
            if not request.digests or name.startswith(tuple(request.digests))
        ]
        if request.with_inputs and self._head(request.head, context).keep_inputs:
            for row in rows:
                row.input.CopyFrom(self.inputs[row.digest].input)
                row.has_input = True
        part, token = self._part(rows, request.page_token)
        return heads_pb2.ListExamplesResponse(examples=part, next_page_token=token)

    def SearchExamples(self, request: Any, context: Any) -> Any:
        self._record("SearchExamples", request, context)
        known = self.examples[self._head(request.head, context).name]
        rows = [self._example(name, known[name]) for name in self._chosen(request, known)]
        if request.HasField("label"):
            rows = [row for row in rows if row.label == request.label]
        kept = [row for row in rows if self.inputs[row.digest].input.text]
        reply = heads_pb2.SearchExamplesResponse()
        if request.text:
            reply.not_searched = 0 if request.page_token else len(rows) - len(kept)
            rows = [row for row in kept if request.text in self.inputs[row.digest].input.text]
        start = int(request.page_token or 0)
        end = start + min(self.page, request.page_size)
        reply.examples.extend(rows[start:end])
        reply.next_page_token = str(end) if end < len(rows) else ""
        return reply

    def _chosen(self, request: Any, known: dict[str, str | None]) -> list[str]:
        """Digests of the examples with one of the ids, and all the pairs, of a request."""
        return [
            name
            for name in known
            if not request.external_ids or self.inputs[name].external_id in request.external_ids
            if request.metadata.pairs.items() <= self.inputs[name].metadata.pairs.items()
        ]

    def FindSimilar(self, request: Any, context: Any) -> Any:
        self._record("FindSimilar", request, context)
        known = self.examples[self._head(request.head, context).name]
        reply = heads_pb2.FindSimilarResponse(digest=digest_of(request.input), not_compared=1)
        for place, (name, label) in enumerate(known.items()):
            if name != reply.digest and (label is not None or request.unlabelled):
                reply.similar.add(example=self._example(name, label), similarity=1 / (1 + place))
        del reply.similar[request.count or 10 :]
        return reply

    def UpdateExamples(self, request: Any, context: Any) -> Any:
        self._record("UpdateExamples", request, context)
        known = self.examples[request.head]
        reply = heads_pb2.UpdateExamplesResponse()
        for row, update in enumerate(request.updates):
            if update.digest in known:
                known[update.digest] = update.label if update.HasField("label") else None
                reply.updated += 1
            else:
                reply.errors.append(self._error(row, "unknown", "NOT_FOUND"))
        return reply

    def DeleteExamples(self, request: Any, context: Any) -> Any:
        self._record("DeleteExamples", request, context)
        known = self.examples[request.head]
        reply = heads_pb2.DeleteExamplesResponse()
        for row, name in enumerate(request.digests):
            if name in known:
                del known[name]
                reply.deleted += 1
            else:
                reply.errors.append(self._error(row, "unknown", "NOT_FOUND"))
        return reply

    def _example(self, name: str, label: str | None) -> heads_pb2.Example:
        given = self.inputs[name]
        return heads_pb2.Example(
            digest=name,
            label=label,
            kind=given.input.WhichOneof("kind") or "",
            source="upload",
            weight=given.weight,
            held_out=given.held_out,
            external_id=given.external_id or None,
            metadata=given.metadata if given.metadata.pairs else None,
        )

    def ForgetExamples(self, request: Any, context: Any) -> Any:
        self._record("ForgetExamples", request, context)
        known = self.examples[self._head(request.head, context).name]
        reply = heads_pb2.ForgetExamplesResponse(version=2, deleted_versions=[1])
        chosen = request.external_ids or request.metadata.pairs
        names = self._chosen(request, known) if chosen else request.digests
        for row, name in enumerate(names):
            if known.pop(name, self) is self:
                reply.errors.append(self._error(row, "unknown", "NOT_FOUND"))
            else:
                reply.forgotten += 1
        reply.held_by.extend(name for name in self.heads if name != request.head)
        return reply

    def SuggestExamples(self, request: Any, context: Any) -> Any:
        self._record("SuggestExamples", request, context)
        head = self._head(request.head, context)
        rows = [name for name, label in self.examples[head.name].items() if label is None]
        reply = heads_pb2.SuggestExamplesResponse(strategy=request.strategy or "margin")
        for name in rows[: request.count or 10]:
            guess = {"predicted_label": head.labels[0], "probability": 0.6} if head.labels else {}
            kept = self.inputs[name].input if head.keep_inputs else None
            reply.suggestions.add(example=self._example(name, None), input=kept, **guess)
        return reply

    def ListFeedback(self, request: Any, context: Any) -> Any:
        self._record("ListFeedback", request, context)
        rows = [
            row
            for row in self.feedback.get(self._head(request.head, context).name, [])
            if request.state in (heads_pb2.FEEDBACK_STATE_UNSPECIFIED, row.state)
        ]
        part, token = self._part(rows, request.page_token)
        return heads_pb2.ListFeedbackResponse(feedback=part, next_page_token=token)

    def ReleaseFeedback(self, request: Any, context: Any) -> Any:
        self._record("ReleaseFeedback", request, context)
        held = {
            row.id: row
            for row in self.feedback.get(request.head, [])
            if row.state == heads_pb2.FEEDBACK_STATE_QUARANTINED
        }
        reply = heads_pb2.ReleaseFeedbackResponse()
        for row, name in enumerate(held if request.all else request.ids):
            if name in held:
                held[name].state = heads_pb2.FEEDBACK_STATE_LEARNED
                reply.released += 1
            else:
                reply.errors.append(self._error(row, "not in quarantine", "NOT_FOUND"))
        return reply
