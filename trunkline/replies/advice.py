"""An advice, as it comes over the wire."""

from collections.abc import Sequence

from trunkline.errors import DataLoss
from trunkline.v1 import advice_pb2
from trunkline.values.advice import Advice
from trunkline.values.outcomes import RowFailure
from trunkline.wire.reading import read


def advice(message: advice_pb2.Advice, failures: Sequence[RowFailure], failed: int) -> Advice:
    """Reads an advice, and adds what became of the rows.

    Raises `DataLoss` if it contradicts itself, or has a verdict that this client does not know.
    """
    found = read(Advice, message, failures=tuple(failures), failed=failed)
    if found.recommended not in {option.name for option in found.options}:
        raise DataLoss(f"{found.recommended!r} is recommended, which is none of the options")
    return found
