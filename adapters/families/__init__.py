"""The families of heads, behind one protocol."""

from collections.abc import Mapping
from types import MappingProxyType

from adapters.families.base import Family, Fit
from adapters.families.lda import Lda
from adapters.families.logistic import Logistic
from adapters.families.prototype import Prototype
from adapters.families.ridge import Ridge

REGISTRY: Mapping[str, Family] = MappingProxyType(
    {family.name: family for family in (Logistic(), Ridge(), Lda(), Prototype())}
)
"""Every family by its name; a new one is added here and in `adapters.spec.FAMILIES`."""

__all__ = ["REGISTRY", "Family", "Fit"]
