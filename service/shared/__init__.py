"""What servers share in Redis or Valkey, whose loss costs time alone.

`server` imports the client, and is imported only where there is something to share.
"""

from service.shared.address import RedisAddress
from service.shared.secrets import TenantSecrets

__all__ = ["RedisAddress", "TenantSecrets"]
