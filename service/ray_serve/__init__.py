"""The extraction service as a deployment of Ray Serve, and the only place that imports Ray.

A third transport over the same handlers: Ray's proxy takes the calls, and each replica is an
extractor. What Ray's context lacks is made up for in `context`; `proxying` is imported by the
proxy alone, which has no use for backbones.
"""
