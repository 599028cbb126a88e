"""The applications: all that a server is made of, built from its settings and wired together."""

from service.application.extractor import ExtractorApplication
from service.application.server import Application

__all__ = ["Application", "ExtractorApplication"]
