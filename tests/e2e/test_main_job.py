"""From labelled files to predictions, feedback and versions, the same over both transports."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load as read_safetensors
from safetensors.numpy import save as write_safetensors

from tests.e2e.conftest import IMAGES, TEXTS
from tests.e2e.samples import Labelled, digit_images, short_texts, vectors
from tests.e2e.transports import Refused, Transport, embedding, image, text
from trunkline import Backbone
from trunkline.digest import image_digest
from trunkline.v1 import common_pb2, heads_pb2, prediction_pb2

SUCCEEDED = heads_pb2.TRAINING_STATE_SUCCEEDED


def create(transport: Transport, tenant: str, head: str, backbone: str) -> heads_pb2.Head:
    request = heads_pb2.CreateHeadRequest(
        parent=f"tenants/{tenant}", head_id=head, backbone=backbone
    )
    made: heads_pb2.Head = transport.call("CreateHead", request).head
    assert made.name == f"tenants/{tenant}/heads/{head}"
    return made


def train(transport: Transport, head: str, **more: Any) -> heads_pb2.Training:
    request = heads_pb2.TrainHeadRequest(head=head, **more)
    training: heads_pb2.Training = transport.call("TrainHead", request).training
    assert training.state == SUCCEEDED, training
    return training


def get(transport: Transport, head: str) -> heads_pb2.Head:
    found: heads_pb2.Head = transport.call("GetHead", heads_pb2.GetHeadRequest(name=head)).head
    return found


def test_images_are_learned_and_classified(
    transport: Transport, tenant: str, photos: Labelled
) -> None:
    head = create(transport, tenant, "textile", IMAGES).name
    stored = transport.add(head, [(image(data), label) for data, label in photos])
    assert (stored.added, stored.failed) == (len(photos), 0)
    assert train(transport, head).version == 1
    rows = transport.predict(head, [image(data) for data, _ in photos]).rows
    right = sum(row.label == label for row, (_, label) in zip(rows, photos, strict=True))
    assert right > len(photos) / 2
    for row, (data, _) in zip(rows, photos, strict=True):
        assert row.digest == image_digest(data)
        assert sum(row.scores.values()) == pytest.approx(1, abs=1e-5)
        assert list(row.scores.values()) == sorted(row.scores.values(), reverse=True)
        assert set(row.scores) == {"nominal", "local", "global"}


def test_texts_are_learned_and_feedback_changes_the_next_version(
    transport: Transport, tenant: str, sentences: list[tuple[str, str]]
) -> None:
    head = create(transport, tenant, "mood", TEXTS).name
    transport.call("UpdateHead", heads_pb2.UpdateHeadRequest(name=head, allow_new_labels=True))
    transport.add(head, [(text(words), label) for words, label in sentences])
    train(transport, head)
    corrected = [words for words, _ in short_texts(6, skip=12)]
    before = transport.predict(head, map(text, corrected)).rows
    assert {row.version for row in before} == {1}
    feedback = prediction_pb2.SendFeedbackRequest(
        head=head,
        feedback=[
            prediction_pb2.Feedback(
                id=f"fix-{i}", input=common_pb2.Input(digest=row.digest), label="mixed"
            )
            for i, row in enumerate(before)
        ],
    )
    receipt = transport.call("SendFeedback", feedback)
    assert list(receipt.ids) == [f"fix-{i}" for i in range(len(corrected))]
    assert not any(receipt.duplicates)
    assert all(transport.call("SendFeedback", feedback).duplicates)
    assert get(transport, head).feedback_count == len(corrected)
    assert train(transport, head).version == 2
    after = transport.predict(head, map(text, corrected)).rows
    assert {row.version for row in after} == {2}
    assert sum(row.label == "mixed" for row in after) > len(corrected) / 2
    assert get(transport, head).labels == ["mixed", "negative", "positive"]


def test_report_tells_what_is_known_without_a_held_out_set(
    transport: Transport, text_head: str, sentences: list[tuple[str, str]]
) -> None:
    request = heads_pb2.GetHeadReportRequest(name=f"{text_head}/versions/active")
    report = transport.call("GetHeadReport", request).report
    assert report.example_count == len(sentences)
    assert {item.label: item.examples for item in report.classes} == {
        "negative": len(sentences) // 2,
        "positive": len(sentences) // 2,
    }
    assert 0 <= report.estimate.accuracy_low <= report.estimate.accuracy
    assert report.estimate.accuracy <= report.estimate.accuracy_high <= 1
    assert [item.chosen for item in report.candidates].count(True) == 1
    families = {"logistic", "ridge", "lda", "prototype"}
    assert {item.family for item in report.candidates} == families
    assert report.train_seconds > 0


def test_a_head_averages_over_views_unless_a_request_says_otherwise(
    transport: Transport, tenant: str, photos: Labelled
) -> None:
    head = create(transport, tenant, "averaging", IMAGES).name
    transport.add(head, [(image(data), label) for data, label in photos[:6]])
    train(transport, head)
    probe = [image(photos[8][0])]

    def scores(**asked: int) -> list[dict[str, float]]:
        return [row.scores for row in transport.predict(head, probe, **asked).rows]

    plain, averaged = scores(), scores(average_views=2)
    assert plain != averaged
    spec = heads_pb2.HeadSpec(average_views=2)
    transport.call("UpdateHead", heads_pb2.UpdateHeadRequest(name=head, spec=spec))
    assert get(transport, head).spec.average_views == 2
    assert scores() == averaged
    assert scores(average_views=0) == plain


def test_activation_and_rollback_take_effect_at_once(
    transport: Transport, tenant: str, backbones: dict[str, Backbone]
) -> None:
    backbone = backbones[TEXTS]
    head = create(transport, tenant, "versions", TEXTS).name
    first = vectors(12, backbone.dim)
    rows = [(embedding(backbone.fingerprint, vector), label) for vector, label in first]
    transport.add(head, rows)
    train(transport, head)
    transport.add(
        head, [(item, "all-the-same" if label == "class-0" else "other") for item, label in rows]
    )
    assert train(transport, head, activate=False).version == 2
    probe = [rows[0][0]]
    assert transport.predict(head, probe).rows[0].label == "class-0"
    assert transport.predict(head, probe, version=2).rows[0].label == "all-the-same"
    for version, label in ((2, "all-the-same"), (1, "class-0"), (2, "all-the-same")):
        name = f"{head}/versions/{version}"
        request = heads_pb2.ActivateHeadVersionRequest(name=name)
        assert transport.call("ActivateHeadVersion", request).head.active_version == version
        (row,) = transport.predict(head, probe).rows
        assert (row.version, row.label) == (version, label)
        found = transport.call("GetHeadVersion", heads_pb2.GetHeadVersionRequest(name=name))
        assert found.version.active
    listed = transport.call("ListHeadVersions", heads_pb2.ListHeadVersionsRequest(head=head))
    assert [(v.version, v.active) for v in listed.versions] == [(2, True), (1, False)]


def test_exported_head_imported_by_another_tenant_predicts_the_same(
    transport: Transport, tenant: str, text_head: str, backbones: dict[str, Backbone]
) -> None:
    export = transport.call("ExportHead", heads_pb2.ExportHeadRequest(name=text_head))
    request = heads_pb2.ImportHeadRequest(
        parent=f"tenants/{tenant}",
        head_id="copy",
        backbone=TEXTS,
        fingerprint=backbones[TEXTS].fingerprint,
        safetensors=export.safetensors,
    )
    copy = transport.call("ImportHead", request)
    assert copy.version.source == "import"
    assert copy.head.active_version == 1
    probes = [text(words) for words, _ in short_texts(4, skip=30)]
    theirs = transport.predict(text_head, probes).rows
    ours = transport.predict(copy.head.name, probes).rows
    for row, expected in zip(ours, theirs, strict=True):
        assert row.label == expected.label
        assert row.scores == pytest.approx(expected.scores, abs=1e-6)


def test_logistic_regression_of_scikit_learn_can_be_imported(
    transport: Transport, tenant: str, backbones: dict[str, Backbone]
) -> None:
    from sklearn.linear_model import LogisticRegression

    backbone = backbones[TEXTS]
    rows = vectors(30, backbone.dim, classes=3)
    matrix = np.stack([vector for vector, _ in rows])
    model = LogisticRegression().fit(matrix, [label for _, label in rows])
    request = heads_pb2.ImportHeadRequest(
        parent=f"tenants/{tenant}",
        head_id="sklearn",
        backbone=TEXTS,
        fingerprint=backbone.fingerprint,
        # safetensors writes memory as it lies, and that of coef_ lies column by column.
        safetensors=write_safetensors(
            {"weight": np.ascontiguousarray(model.coef_), "bias": model.intercept_}
        ),
        labels=model.classes_,
    )
    head = transport.call("ImportHead", request).head.name
    probes = [vector for vector, _ in vectors(10, backbone.dim, seed=5, classes=3)]
    found = transport.predict(head, [embedding(backbone.fingerprint, v) for v in probes]).rows
    expected = model.predict_proba(np.stack(probes))
    scores = [[row.scores[label] for label in model.classes_] for row in found]
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_export_is_a_plain_safetensors_file(transport: Transport, text_head: str) -> None:
    export = transport.call("ExportHead", heads_pb2.ExportHeadRequest(name=text_head))
    tensors = read_safetensors(export.safetensors)
    assert tensors["weight"].shape == (2, 384)
    assert tensors["bias"].shape == (2,)
    length = int.from_bytes(export.safetensors[:8], "little")
    metadata = json.loads(export.safetensors[8 : 8 + length])["__metadata__"]
    assert json.loads(metadata["labels"]) == ["negative", "positive"]


def test_deleted_name_is_free_again_and_means_another_head(
    transport: Transport, tenant: str
) -> None:
    old = create(transport, tenant, "name", TEXTS)
    transport.add(old.name, [(text("something"), "a")])
    with pytest.raises(Refused, match="ALREADY_EXISTS"):
        create(transport, tenant, "name", TEXTS)
    transport.call("DeleteHead", heads_pb2.DeleteHeadRequest(name=old.name))
    with pytest.raises(Refused, match="NOT_FOUND"):
        get(transport, old.name)
    new = create(transport, tenant, "name", TEXTS)
    assert new.uid != old.uid
    assert new.example_count == 0


def test_lists_go_on_where_the_last_page_ended(transport: Transport, tenant: str) -> None:
    names = [create(transport, tenant, f"head-{i}", TEXTS).name for i in range(5)]
    transport.add(names[0], [(text(f"text {i}"), f"label-{i % 2}") for i in range(5)])
    heads: list[str] = []
    examples: list[str] = []
    token = ""
    for _ in range(3):
        request = heads_pb2.ListHeadsRequest(
            parent=f"tenants/{tenant}", page_size=2, page_token=token
        )
        page = transport.call("ListHeads", request)
        heads += [head.name for head in page.heads]
        token = page.next_page_token
    assert (heads, token) == (names, "")
    for _ in range(3):
        listing = heads_pb2.ListExamplesRequest(head=names[0], page_size=2, page_token=token)
        page = transport.call("ListExamples", listing)
        examples += [example.digest for example in page.examples]
        token = page.next_page_token
    assert (len(set(examples)), token) == (5, "")
    only = heads_pb2.ListExamplesRequest(head=names[0], label="label-1")
    found = transport.call("ListExamples", only).examples
    assert {example.label for example in found} == {"label-1"}
    assert len(found) == 2


def test_heads_of_all_tenants_are_listed_with_what_their_active_versions_are_worth(
    transport: Transport, text_head: str, tenant: str
) -> None:
    names = [create(transport, f"{tenant}-{name}", "empty", TEXTS).name for name in "ba"]
    found: list[heads_pb2.Head] = []
    token = ""
    while True:
        request = heads_pb2.ListHeadsRequest(parent="tenants/-", page_size=2, page_token=token)
        page = transport.call("ListHeads", request)
        found += page.heads
        token = page.next_page_token
        if not token:
            break
    heads = {head.name: head for head in found}
    assert list(heads) == sorted(heads, key=lambda name: name.split("/")[1::2])
    assert len(heads) == len(found)
    assert not heads[names[0]].HasField("estimate")
    trained = heads[text_head]
    report = heads_pb2.GetHeadReportRequest(name=f"{text_head}/versions/active")
    assert trained.estimate == transport.call("GetHeadReport", report).report.estimate
    assert trained.example_count > 0
    versions = heads_pb2.ListHeadVersionsRequest(head=text_head)
    (active,) = [row for row in transport.call("ListHeadVersions", versions).versions if row.active]
    assert active.estimate == trained.estimate
    assert active.create_time == trained.active_version_time
    alone = get(transport, text_head)
    alone.ClearField("live")
    assert trained == alone


def test_examples_are_relabelled_and_deleted(transport: Transport, tenant: str) -> None:
    head = create(transport, tenant, "edits", TEXTS).name
    transport.add(head, [(text(f"text {i}"), "a") for i in range(3)])
    listing = heads_pb2.ListExamplesRequest(head=head)
    first, second, third = transport.call("ListExamples", listing).examples
    unknown = "0" * 64
    update = heads_pb2.UpdateExamplesRequest(
        head=head,
        updates=[
            heads_pb2.ExampleUpdate(digest=first.digest, label="b"),
            heads_pb2.ExampleUpdate(digest=second.digest),
            heads_pb2.ExampleUpdate(digest=unknown, label="b"),
        ],
    )
    updated = transport.call("UpdateExamples", update)
    assert updated.updated == 2
    assert [(error.row, error.code) for error in updated.errors] == [(2, "NOT_FOUND")]
    digests = [third.digest, unknown]
    deletion = heads_pb2.DeleteExamplesRequest(head=head, digests=digests)
    deleted = transport.call("DeleteExamples", deletion)
    assert deleted.deleted == 1
    assert [(error.row, error.code) for error in deleted.errors] == [(1, "NOT_FOUND")]
    left = transport.call("ListExamples", listing).examples
    assert [(e.digest, e.label, e.HasField("label")) for e in left] == [
        (first.digest, "b", True),
        (second.digest, "", False),
    ]
    found = get(transport, head)
    assert (found.example_count, found.labelled_count) == (2, 1)


def test_embedding_and_digest_and_raw_input_predict_the_same(
    transport: Transport, tenant: str, text_head: str
) -> None:
    words = f"nobody has sent this before: {tenant}"
    embedded = transport.embed("shared", [text(words)])
    assert embedded.backbone == TEXTS
    vector = embedded.rows[0].vector
    assert vector is not None
    forms = [
        text(words),
        common_pb2.Input(text_utf8=words.encode()),
        common_pb2.Input(digest=embedded.rows[0].digest),
        embedding(embedded.fingerprint, vector),
    ]
    rows = transport.predict(text_head, forms).rows
    for row in rows:
        assert row.scores == pytest.approx(rows[0].scores, abs=1e-6)


def test_pixels_predict_as_their_png_does(transport: Transport, image_head: str) -> None:
    import io

    from PIL import Image

    data, _ = digit_images(1)[0]
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    tensor = common_pb2.Tensor(dtype="uint8", shape=pixels.shape, data=pixels.tobytes())
    rows = transport.predict(image_head, [image(data), common_pb2.Input(pixels=tensor)]).rows
    assert rows[0].digest != rows[1].digest
    assert rows[1].scores == pytest.approx(rows[0].scores, abs=1e-4)


def test_top_k_keeps_the_most_probable_classes(
    transport: Transport, image_head: str, photos: Labelled
) -> None:
    every = transport.predict(image_head, [image(photos[0][0])]).rows[0]
    best = transport.predict(image_head, [image(photos[0][0])], top_k=2).rows[0]
    assert list(best.scores) == list(every.scores)[:2]
    assert best.label == every.label


def test_rows_of_one_request_may_go_to_heads_of_their_own(
    transport: Transport, tenant: str, text_head: str, backbones: dict[str, Backbone]
) -> None:
    export = transport.call("ExportHead", heads_pb2.ExportHeadRequest(name=text_head))
    heads = []
    for name in ("one", "two"):
        request = heads_pb2.ImportHeadRequest(
            parent=f"tenants/{tenant}",
            head_id=name,
            backbone=TEXTS,
            fingerprint=backbones[TEXTS].fingerprint,
            safetensors=export.safetensors,
            labels=[f"{name}-no", f"{name}-yes"],
        )
        heads.append(transport.call("ImportHead", request).head.name)
    order = [heads[1], heads[0], f"tenants/{tenant}/heads/none", text_head, heads[1]]
    rows = transport.predict(heads[0], [text("fine")] * 5, heads=order).rows
    assert [row.head for row in rows] == [heads[1], heads[0], "", "", heads[1]]
    assert rows[0].label.startswith("two-")
    assert rows[1].label.startswith("one-")
    codes = [row.error.code if row.error else "" for row in rows]
    assert codes == ["", "", "NOT_FOUND", "INVALID_ARGUMENT", ""]


def test_head_without_a_version_says_so(transport: Transport, tenant: str) -> None:
    head = create(transport, tenant, "empty", TEXTS).name
    with pytest.raises(Refused, match=r"FAILED_PRECONDITION.*no active version"):
        transport.predict(head, [text("hello")])
    with pytest.raises(Refused, match="FAILED_PRECONDITION") as refused:
        train(transport, head)
    assert (refused.value.field, refused.value.limit, refused.value.value) == ("classes", "2", "0")


def test_finished_training_can_be_looked_up_and_not_cancelled(
    transport: Transport, tenant: str, backbones: dict[str, Backbone]
) -> None:
    backbone = backbones[TEXTS]
    head = create(transport, tenant, "jobs", TEXTS).name
    rows = vectors(8, backbone.dim)
    transport.add(head, [(embedding(backbone.fingerprint, v), label) for v, label in rows])
    training = train(transport, head)
    request = heads_pb2.GetTrainingRequest(name=training.name)
    assert transport.call("GetTraining", request).training.version == 1
    cancel = heads_pb2.CancelTrainingRequest(name=training.name)
    assert transport.call("CancelTraining", cancel).training.state == SUCCEEDED
    assert get(transport, head).training == ""
