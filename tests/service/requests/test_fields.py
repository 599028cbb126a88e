import unicodedata

import pytest

from service.errors import InvalidRequest
from service.requests.fields import check_group, check_label

JOINED = ["👨\u200d👩\u200d👧", "क्\u200dष", "🏴\U000e0067\U000e0062\U000e007f"]
UNSEEN = ["yes\u200b", "\u200fyes", "yes\u200d", "co\xadop", "a\tb", "\U000e0067", "yes\uffff"]


@pytest.mark.parametrize("name", JOINED)
def test_joiners_and_tags_that_a_writing_needs_are_part_of_a_name(name: str) -> None:
    assert check_label(name, 100) == name
    assert check_group(name) == name


@pytest.mark.parametrize("name", UNSEEN)
def test_names_with_characters_that_are_not_seen_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="label"):
        check_label(name, 100)
    with pytest.raises(InvalidRequest, match="group"):
        check_group(name)


def test_a_group_is_one_in_every_form_of_its_name() -> None:
    assert check_group(unicodedata.normalize("NFD", "café")) == "café"
