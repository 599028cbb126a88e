"""What holds for every test: nothing phones out, and property tests repeat themselves."""

import os

from hypothesis import settings

# Set before any test module imports the libraries that read them.
os.environ["BENTOML_DO_NOT_TRACK"] = "True"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"

# On shared machines a slow example is no failure; in CI the same examples run every time.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
