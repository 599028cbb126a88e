"""What to do where direct training is advised: heads stand on embeddings, so it is done elsewhere.

Lines of Python that can be pasted: they read the same data as the advice, and train as it did.
"""

from trunkline.cli.reading import Data
from trunkline.datasets import Columns
from trunkline.values.advice import Advice
from trunkline.values.inputs import Text

_READING = """\
from pathlib import Path
from trunkline.datasets import {imports}

examples = read_examples(Path({path}){columns})
data = {{row.input.{item}: row.label for row in examples{readable}}}
inputs, labels = list(data), list(data.values())

"""


def direct_code(advice: Advice, data: Data, columns: Columns) -> str:
    """Returns the advice's lines behind those that read `inputs` and `labels`.

    Empty if the server told none. They stand in ASCII, so that no name of a file can change what a
    terminal shows.
    """
    if not advice.direct_code:
        return ""
    texts = any(isinstance(row.input, Text) for row in data.examples)
    item = "text" if texts else "path"
    named = {
        name: value
        for name in ("text", "path", "label")
        if (value := getattr(columns, name)) is not None
    }
    given = ", ".join(f"{name}={value!a}" for name, value in named.items())
    reading = _READING.format(
        imports="Columns, read_examples" if named else "read_examples",
        path=ascii(str(data.path.absolute())),
        columns=f", Columns({given})" if named else "",
        item=item,
        readable=f' if hasattr(row.input, "{item}")' if data.unreadable else "",
    )
    return reading + advice.direct_code
