"""Settings by what they are about: the order in which people are shown them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Listening": (
            *("host", "grpc_port", "rest_port", "port", "socket", "metrics_port"),
            *("allowed_origins", "trusted_proxies", "workers"),
        ),
        "Access": (
            *("auth", "insecure", "extractor_key_file"),
            *("audit", "audit_file", "audit_retention_days"),
        ),
        "Encryption": (
            *("tls_cert", "tls_key", "tls_client_ca"),
            *("extractor_tls_ca", "extractor_tls_cert", "extractor_tls_key"),
        ),
        "Backbones": (
            *("backbone", "catalogue", "extractor", "engine", "device", "cache_dir", "offline"),
            *("threads", "passes", "decode_threads", "max_batch_rows", "max_batch_cost"),
            *("max_batch_tokens", "batch_window_ms", "tail_cache_bytes", "held_tail_bytes"),
        ),
        "Store": (
            *("data_dir", "disk_reserve_bytes", "store", "store_password_file"),
            *("store_connections", "new_store"),
        ),
        "Memory": (
            *("embedding_cache_bytes", "head_cache_bytes", "live_cache_bytes"),
            "neighbour_cache_bytes",
        ),
        "Shared cache": (
            *("shared_cache", "shared_cache_ttl_seconds", "shared_cache_timeout_ms"),
            *("shared_cache_queued_bytes", "shared_cache_tls_ca"),
            *("shared_cache_tls_cert", "shared_cache_tls_key"),
        ),
        "Label Studio": ("label_studio_url", "label_studio_token_file"),
        "Learning": (
            *("fit_threads", "fit_timeout_seconds", "tune_threads", "tune_timeout_seconds"),
            *("child_silence_seconds", "activation_cache_bytes", "live_threads"),
            *("live_error_rate", "drift_delta", "max_versions_per_head"),
        ),
        "Quotas and usage of tenants": (
            *("tenant_cost_per_second", "tenant_cost_burst", "tenant_rows_in_flight"),
            *("tenant_examples", "tenant_stored_bytes", "usage_days"),
        ),
        "Limits of what is sent": (
            *("max_rows_per_request", "max_message_bytes", "max_image_bytes", "max_pixels"),
            *("max_side", "max_text_bytes", "max_label_bytes", "max_classes"),
            *("max_examples_per_head", "max_advice_examples"),
            "max_advice_bytes",
        ),
        "Limits of what waits": (
            *("max_queued_rows_per_tenant", "max_queued_rows", "max_queued_bytes"),
            *("max_receiving_bytes", "max_connections", "max_calls", "capture_queued_bytes"),
        ),
        "Times": (
            *("request_timeout_seconds", "head_timeout_seconds", "body_timeout_seconds"),
            *("idle_timeout_seconds", "max_connection_age_seconds", "drain_seconds"),
        ),
        "Logs and metrics": ("log_level", "log_format", "metrics_tenants"),
    }
)


def grouped(settings: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Yields the title of each group that has some of the settings, and their names in order."""
    rest = set(settings)
    for title, names in GROUPS.items():
        if found := [name for name in names if name in rest]:
            yield title, found
            rest.difference_update(found)
    if rest:
        yield "Other", sorted(rest)
