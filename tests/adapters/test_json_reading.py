from typing import Any

import pytest

from adapters import Augmentation, HeadSpec


def test_what_earlier_releases_did_not_store_takes_its_default() -> None:
    found = HeadSpec.from_json({"family": "ridge", "augment": {"views": 2}})
    assert found == HeadSpec(family="ridge", augment=Augmentation(views=2))


@pytest.mark.parametrize(
    "damaged",
    [{"famly": "ridge"}, {"augment": None}, {"augment": {"viws": 2}}, {"fine_tune": [1]}],
)
def test_damaged_json_is_an_error(damaged: dict[str, Any]) -> None:
    with pytest.raises((TypeError, AttributeError)):
        HeadSpec.from_json(damaged)
