"""What says that a request came through a proxy: then it is not taken for a local one."""

FORWARDED = frozenset(
    {"forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"}
)
"""Names of headers and metadata. That a proxy is believed is another thing (`trusted_proxies`): a
false one here costs whoever sends it what only this machine may do, and gains nothing."""
