import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.resources import (
    HeadName,
    InvalidName,
    KeyName,
    TenantName,
    TrainingName,
    VersionName,
)

IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", fullmatch=True)


@given(IDS, IDS, IDS, st.none() | st.integers(1, 2**63 - 1))
def test_every_name_reads_back(tenant: str, head: str, training: str, version: int | None) -> None:
    name = HeadName(tenant, head)
    assert TenantName.parse(str(name.parent)) == name.parent
    assert TenantName.read(tenant) == name.parent
    assert HeadName.parse(str(name)) == HeadName.read(str(name)) == HeadName.read(name.short)
    assert VersionName.parse(str(name.version(version))) == name.version(version)
    run = TrainingName(name, training)
    assert TrainingName.parse(str(run)) == run
    key = KeyName(training)
    assert KeyName.parse(str(key)) == KeyName.read(training) == key


BAD_IDS = ["", " ", ".a", "-a", "a b", "a\n", "é", "a" * 64, "a/b", "..", "%2e"]


@pytest.mark.parametrize("bad", BAD_IDS)
def test_ids_outside_the_alphabet_are_refused(bad: str) -> None:
    with pytest.raises(InvalidName):
        HeadName.parse(f"tenants/{bad}/heads/x")
    with pytest.raises(InvalidName):
        HeadName.parse(f"tenants/x/heads/{bad}")
    with pytest.raises(InvalidName):
        HeadName("x", bad)


@pytest.mark.parametrize("bad", ["0", "-1", "01", "1.0", "x", "", "Active", "9" * 20])
def test_versions_that_are_none_are_refused(bad: str) -> None:
    with pytest.raises(InvalidName):
        VersionName.parse(f"tenants/a/heads/b/versions/{bad}")


@pytest.mark.parametrize(
    "text", ["", "a/b", "tenants/a", "tenants/a/heads", "heads/a/tenants/b", "tenants/a/heads/b/"]
)
def test_only_the_full_name_is_parsed(text: str) -> None:
    with pytest.raises(InvalidName):
        HeadName.parse(text)


def test_a_refusal_names_field_limit_and_a_shortened_value() -> None:
    with pytest.raises(InvalidName) as caught:
        HeadName.parse("x" * 1000, field="parent")
    assert caught.value.field == "parent"
    assert caught.value.limit == "tenants/{tenant}/heads/{head}"
    assert len(caught.value.value) < 110
