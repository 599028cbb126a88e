"""The recording server's methods about heads and versions."""

from collections.abc import Iterator
from typing import Any

from tests.trunkline.recorded_state import FINGERPRINT, State, refuse
from tests.trunkline.sample_reports import estimate, full_report
from trunkline.v1 import heads_pb2


def tuning(**changes: Any) -> heads_pb2.TuningProgress:
    figures: dict[str, Any] = {
        "fold": 2,
        "folds": 5,
        "epoch": 3,
        "epochs": 12,
        "loss": 0.5,
        "validation_loss": 0.25,
        "validation_accuracy": 0.875,
        "remaining_seconds": 94.0,
        "passes": 42,
        "most_passes": 131,
    }
    return heads_pb2.TuningProgress(**figures | changes)


class RecordedHeads(State):
    def CreateHead(self, request: Any, context: Any) -> Any:
        self._record("CreateHead", request, context)
        name = f"{request.parent}/heads/{request.head_id}"
        if name in self.heads:
            refuse(context, "ALREADY_EXISTS", f"{name} exists", field="head_id")
        self.heads[name] = heads_pb2.Head(
            name=name,
            uid="u1",
            backbone=request.backbone,
            fingerprint=FINGERPRINT,
            spec=request.spec,
            keep_inputs=request.keep_inputs,
            policy=request.policy,
            allow_new_labels=request.allow_new_labels,
            capture=request.capture if request.HasField("capture") else None,
        )
        self.examples[name] = {}
        return heads_pb2.CreateHeadResponse(head=self.heads[name])

    def GetHead(self, request: Any, context: Any) -> Any:
        self._record("GetHead", request, context)
        return heads_pb2.GetHeadResponse(head=self._with_live(self._head(request.name, context)))

    def _with_live(self, head: heads_pb2.Head) -> heads_pb2.Head:
        """The head as GetHead shows it: with a live copy that learns from live feedback."""
        live = self._live_feedback(head.name)
        state = heads_pb2.LIVE_STATE_LEARNING if live else heads_pb2.LIVE_STATE_IDLE
        shown = heads_pb2.Head()
        shown.CopyFrom(head)
        labels = self.examples[head.name].values()
        shown.example_count = len(labels)
        shown.labelled_count = sum(label is not None for label in labels)
        shown.live.MergeFrom(
            heads_pb2.LiveCopy(
                state=state,
                base_version=head.active_version,
                feedback_count=len(live),
                scored=len(live),
                active_right=0,
                live_right=len(live),
                evidence_better=2.5,
                error_rate=0.05,
                drift=heads_pb2.Drift(detected=bool(live), window=len(live), accuracy=0.5),
            )
        )
        if live:
            shown.live.drift.time.FromSeconds(1_700_000_000)
        return shown

    def _live_feedback(self, head: str) -> list[heads_pb2.FeedbackRecord]:
        return [
            row for row in self.feedback.get(head, []) if row.state == heads_pb2.FEEDBACK_STATE_LIVE
        ]

    def UpdateHead(self, request: Any, context: Any) -> Any:
        self._record("UpdateHead", request, context)
        head = self._head(request.name, context)
        if request.HasField("policy"):
            head.policy = request.policy
        if request.HasField("allow_new_labels"):
            head.allow_new_labels = request.allow_new_labels
        if request.HasField("spec"):
            head.spec.CopyFrom(request.spec)
        if request.HasField("capture"):
            head.capture.CopyFrom(request.capture)
            if request.capture.off:
                head.ClearField("capture")
        return heads_pb2.UpdateHeadResponse(head=self._with_live(head))

    def PromoteLiveCopy(self, request: Any, context: Any) -> Any:
        self._record("PromoteLiveCopy", request, context)
        head = self._head(request.head, context)
        if not self._live_feedback(head.name):
            refuse(context, "FAILED_PRECONDITION", "there is no live copy", field="head")
        version = self._new_version(head, list(head.labels), "feedback", True, head.spec)
        for row in self._live_feedback(head.name):
            row.state = heads_pb2.FEEDBACK_STATE_LEARNED
        return heads_pb2.PromoteLiveCopyResponse(
            head=head, version=version, removed_versions=self.removed_versions
        )

    def DropLiveCopy(self, request: Any, context: Any) -> Any:
        self._record("DropLiveCopy", request, context)
        head = self._head(request.head, context)
        dropped = self._live_feedback(head.name)
        for row in dropped:
            row.state = heads_pb2.FEEDBACK_STATE_QUARANTINED
        head.quarantined_count += len(dropped)
        return heads_pb2.DropLiveCopyResponse(head=head, quarantined=len(dropped))

    def ListHeads(self, request: Any, context: Any) -> Any:
        self._record("ListHeads", request, context)
        parent = "tenants/" if request.parent == "tenants/-" else request.parent + "/"
        names = sorted(name for name in self.heads if name.startswith(parent))
        part, token = self._part(names, request.page_token)
        heads = [self.heads[name] for name in part]
        return heads_pb2.ListHeadsResponse(heads=heads, next_page_token=token)

    def DeleteHead(self, request: Any, context: Any) -> Any:
        self._record("DeleteHead", request, context)
        self._head(request.name, context)
        del self.heads[request.name]
        return heads_pb2.DeleteHeadResponse()

    def TrainHead(self, request: Any, context: Any) -> Iterator[Any]:
        self._record("TrainHead", request, context)
        head = self._head(request.head, context)
        spec = request.spec if request.HasField("spec") else head.spec
        tuned = spec.fine_tune.strategy not in ("", "none")
        if (tuned or request.backbone) and not head.keep_inputs:
            refuse(context, "FAILED_PRECONDITION", "its inputs are not kept", field="keep_inputs")
        if request.backbone:
            if request.backbone not in self.backbones:
                refuse(context, "FAILED_PRECONDITION", "not loaded", field="backbone")
            head.backbone = request.backbone
            head.fingerprint = self.backbones[request.backbone].fingerprint
        training = heads_pb2.Training(name=f"{head.name}/trainings/t1")
        for state, progress in (("QUEUED", 0.0), ("RUNNING", 0.5)):
            training.state = heads_pb2.TrainingState.Value(f"TRAINING_STATE_{state}")
            training.progress = progress
            if tuned and state == "RUNNING":
                training.tuning.CopyFrom(tuning())
            yield heads_pb2.TrainHeadResponse(training=training)
            self._record(f"TrainHead.{state}", request, context)
        if self.training_error:
            training.state = heads_pb2.TRAINING_STATE_FAILED
            training.error_code, training.error_message = self.training_error
            yield heads_pb2.TrainHeadResponse(training=training)
            return
        labels = sorted({label for label in self.examples[head.name].values() if label})
        activate = request.activate if request.HasField("activate") else not self.inactive_reason
        version = self._new_version(head, labels, "training", activate, request.spec)
        if tuned:
            tail = heads_pb2.Tail(
                fingerprint="ef" * 32,
                strategy=spec.fine_tune.strategy,
                blocks=["blocks.3", "blocks.4"],
                size_bytes=4_200_000,
            )
            version.tail.CopyFrom(tail)
        training.ClearField("tuning")
        training.state = heads_pb2.TRAINING_STATE_SUCCEEDED
        training.version = len(self.versions[head.name])
        training.activated = activate
        training.inactive_reason = "" if activate else self.inactive_reason
        training.removed_versions.extend(self.removed_versions)
        yield heads_pb2.TrainHeadResponse(training=training)

    def _new_version(
        self, head: Any, labels: list[str], source: str, activate: bool, spec: Any
    ) -> heads_pb2.HeadVersion:
        versions = self.versions.setdefault(head.name, [])
        number = len(versions) + 1
        version = heads_pb2.HeadVersion(
            name=f"{head.name}/versions/{number}",
            version=number,
            source=source,
            family=spec.family or "ridge",
            spec=spec,
            labels=labels,
            active=activate,
            backbone=head.backbone,
            example_count=len(self.examples.get(head.name, {})),
            estimate=None if source == "import" else estimate(),
        )
        version.create_time.GetCurrentTime()
        versions.append(version)
        if activate:
            head.active_version = number
            head.labels[:] = labels
            head.ClearField("estimate")
            if version.HasField("estimate"):
                head.estimate.CopyFrom(version.estimate)
            head.active_version_time.CopyFrom(version.create_time)
        return version

    def GetTraining(self, request: Any, context: Any) -> Any:
        self._record("GetTraining", request, context)
        training = heads_pb2.Training(
            name=request.name,
            state=heads_pb2.TRAINING_STATE_RUNNING,
            phase="fine-tuning",
            progress=0.5,
            tuning=tuning(),
        )
        return heads_pb2.GetTrainingResponse(training=training)

    def CancelTraining(self, request: Any, context: Any) -> Any:
        self._record("CancelTraining", request, context)
        training = heads_pb2.Training(name=request.name, state=heads_pb2.TRAINING_STATE_CANCELLED)
        return heads_pb2.CancelTrainingResponse(training=training)

    def ImportHead(self, request: Any, context: Any) -> Any:
        self._record("ImportHead", request, context)
        name = f"{request.parent}/heads/{request.head_id}"
        head = self.heads.setdefault(name, heads_pb2.Head(name=name, backbone=request.backbone))
        labels = list(request.labels)
        version = self._new_version(
            head, labels, "import", request.activate, heads_pb2.HeadSpec(family="logistic")
        )
        return heads_pb2.ImportHeadResponse(
            head=head, version=version, removed_versions=self.removed_versions
        )

    def ExportHead(self, request: Any, context: Any) -> Any:
        self._record("ExportHead", request, context)
        head = self._head(request.name, context)
        number = request.version or head.active_version
        version = self.versions[head.name][number - 1]
        return heads_pb2.ExportHeadResponse(
            version=version,
            safetensors=b"weights",
            onnx=b"graph" if request.onnx else b"",
            model_card="# mood",
            tail=b"blocks" if version.HasField("tail") else b"",
        )

    def ListHeadVersions(self, request: Any, context: Any) -> Any:
        self._record("ListHeadVersions", request, context)
        active = self._head(request.head, context).active_version
        for version in self.versions.get(request.head, []):
            version.active = version.version == active
        part, token = self._part(self.versions.get(request.head, [])[::-1], request.page_token)
        return heads_pb2.ListHeadVersionsResponse(versions=part, next_page_token=token)

    def GetHeadVersion(self, request: Any, context: Any) -> Any:
        self._record("GetHeadVersion", request, context)
        name, _, number = request.name.partition("/versions/")
        head = self._head(name, context)
        wanted = head.active_version if number == "active" else int(number)
        version = self.versions[name][wanted - 1]
        version.active = wanted == head.active_version
        return heads_pb2.GetHeadVersionResponse(version=version)

    def PinHeadVersion(self, request: Any, context: Any) -> Any:
        self._record("PinHeadVersion", request, context)
        name, _, number = request.name.partition("/versions/")
        self._head(name, context)
        version = self.versions[name][int(number) - 1]
        version.pinned = request.pinned
        return heads_pb2.PinHeadVersionResponse(version=version)

    def DeleteHeadVersion(self, request: Any, context: Any) -> Any:
        self._record("DeleteHeadVersion", request, context)
        name, _, number = request.name.partition("/versions/")
        if int(number) == self._head(name, context).active_version:
            refuse(context, "FAILED_PRECONDITION", "it is the active one", field="version")
        return heads_pb2.DeleteHeadVersionResponse()

    def ActivateHeadVersion(self, request: Any, context: Any) -> Any:
        self._record("ActivateHeadVersion", request, context)
        head = self._head(request.name.partition("/versions/")[0], context)
        head.active_version = int(request.name.rpartition("/")[2])
        return heads_pb2.ActivateHeadVersionResponse(head=head)

    def GetHeadReport(self, request: Any, context: Any) -> Any:
        self._record("GetHeadReport", request, context)
        head = self._head(request.name.partition("/versions/")[0], context)
        number = request.name.rpartition("/")[2]
        version = head.active_version if number == "active" else int(number)
        labels = list(self.versions[head.name][version - 1].labels)
        if len(labels) < 2:
            labels = ["[bold]a", "b"]
        return heads_pb2.GetHeadReportResponse(
            report=full_report(head.name, version, labels, self.confusion)
        )
