"""When does transfer pay? What could be done with labelled inputs, compared before it is done.

`Advisor` compares; `Pixels` and `Texts` are inputs without a backbone. This imports scikit-learn,
which takes seconds to load: `adapters` itself does not import it.
"""

from adapters.advice.advisor import Advisor
from adapters.advice.direct_features import Pixels, Texts
from adapters.advice.report import (
    DIRECT,
    EITHER,
    MAJORITY,
    NOTHING,
    TRANSFER,
    Advice,
    Geometry,
    LabelsNeeded,
    Option,
)

__all__ = [
    "DIRECT",
    "EITHER",
    "MAJORITY",
    "NOTHING",
    "TRANSFER",
    "Advice",
    "Advisor",
    "Geometry",
    "LabelsNeeded",
    "Option",
    "Pixels",
    "Texts",
]
