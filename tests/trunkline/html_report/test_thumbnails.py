import base64
import builtins
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from tests.trunkline import sample_reports
from tests.trunkline.steps import Run
from trunkline import Client
from trunkline.digest import image_digest, text_digest


def png(colour: str, mode: str = "RGB") -> bytes:
    file = BytesIO()
    Image.new(mode, (400, 200), colour).save(file, "PNG")
    return file.getvalue()


RED, BROKEN = png("red"), png("blue")[:90]


@pytest.fixture
def page(run: Run, tmp_path: Path) -> Path:
    return tmp_path / "report.html"


@pytest.fixture
def pictures(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that keeps its images, two of which are suspects."""
    monkeypatch.setattr(sample_reports, "DIGEST", image_digest(RED))
    monkeypatch.setattr(sample_reports, "OTHER", image_digest(BROKEN))
    client.create_head("acme/cloth", "efficientnet/lite0", keep_inputs=True)
    client.upload("acme/cloth", [(RED, "no"), (BROKEN, "yes"), (png("green"), "yes")])
    client.train("acme/cloth")


def images(page: Path) -> list[dict[str, str]]:
    return [row.attrib for row in ElementTree.parse(page).getroot().iter("img")]


def test_suspects_of_a_head_that_keeps_images_are_shown_small(
    run: Run, pictures: None, page: Path
) -> None:
    result = run("report", "acme/cloth", "--html", page)
    assert result.exit_code == 0, result.stderr
    shown = images(page)
    assert len(shown) == 2  # perhaps mislabelled, and one of a pair; the broken one is not shown
    kind, data = shown[0]["src"].split(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(BytesIO(base64.b64decode(data))) as small:
        assert small.size == (96, 48)
        red, green, blue = small.resize((1, 1)).tobytes()
        assert red > 240
        assert max(green, blue) < 20
    assert "1 of the page's kept inputs cannot be shown" in result.stderr
    assert "img-src data:" in page.read_text(encoding="utf-8")


def test_pictures_need_pillow_and_that_is_said(
    run: Run, pictures: None, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without_pillow(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "PIL":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    result = run("report", "acme/cloth", "--html", page)
    assert result.exit_code == 0, result.stderr
    assert images(page) == []
    assert "2 of the page's kept inputs cannot be shown; pictures need Pillow" in result.stderr


def test_texts_that_are_kept_stand_for_themselves(
    run: Run, client: Client, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_reports, "DIGEST", text_digest("<b>awful</b>"))
    client.create_head("acme/kept", "minilm/l6-v2", keep_inputs=True)
    client.upload("acme/kept", [("<b>awful</b>", "no"), ("good", "yes"), ("bad", "no")])
    client.train("acme/kept")
    assert run("report", "acme/kept", "--html", page).exit_code == 0
    rows = [row.text for row in ElementTree.parse(page).getroot().iter("th")]
    assert rows.count("<b>awful</b>") == 2
    assert images(page) == []


def test_a_head_that_keeps_nothing_is_not_asked_for_inputs(
    run: Run, table: Path, page: Path, recorder: Any
) -> None:
    run("train", "acme/mood", table)
    assert run("report", "acme/mood", "--html", page).exit_code == 0
    assert recorder.asked("ListExamples") == []
    assert images(page) == []
