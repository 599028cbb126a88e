"""What servers share in Redis or Valkey, whose loss costs time alone."""

from service.shared.address import RedisAddress
from service.shared.secrets import TenantSecrets
from service.shared.server import SharedServer

__all__ = ["RedisAddress", "SharedServer", "TenantSecrets"]
