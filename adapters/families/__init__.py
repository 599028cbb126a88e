"""The families of heads, behind one contract."""

from collections.abc import Mapping
from types import MappingProxyType

from adapters.families.base import Family, Solution
from adapters.families.logistic import Logistic
from adapters.families.ridge import Ridge

REGISTRY: Mapping[str, Family] = MappingProxyType(
    {family.name: family for family in (Logistic(), Ridge())}
)
"""Every family by its name; a new one is added here and in `adapters.spec.FAMILIES`."""

__all__ = ["REGISTRY", "Family", "Solution"]
