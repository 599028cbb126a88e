"""The recording server's methods about keys."""

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from tests.trunkline.recorded_state import State, refuse
from trunkline.v1 import access_pb2, keys_pb2

MADE = Timestamp(seconds=1_700_000_000)


class RecordedKeys(State):
    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, keys_pb2.Key] = {}

    def CreateKey(self, request: Any, context: Any) -> Any:
        self._record("CreateKey", request, context)
        roles = request.roles if request.tenant else [access_pb2.ROLE_OPERATE]
        key = self._new_key(request.tenant, roles, request.heads, request.note)
        if request.HasField("lifetime_seconds"):
            key.expire_time.FromSeconds(MADE.seconds + int(request.lifetime_seconds))
        return keys_pb2.CreateKeyResponse(key=key, text=self._text(key))

    def ListKeys(self, request: Any, context: Any) -> Any:
        self._record("ListKeys", request, context)
        found = [key for key in self.keys.values() if request.tenant in ("", key.tenant)]
        begin = int(request.page_token or 0)
        more = str(begin + self.page) if len(found) > begin + self.page else ""
        return keys_pb2.ListKeysResponse(
            keys=found[begin : begin + self.page], next_page_token=more
        )

    def GetKey(self, request: Any, context: Any) -> Any:
        self._record("GetKey", request, context)
        return keys_pb2.GetKeyResponse(key=self._key(request.name, context))

    def RotateKey(self, request: Any, context: Any) -> Any:
        self._record("RotateKey", request, context)
        old = self._key(request.name, context)
        new = self._new_key(old.tenant, old.roles, old.heads, old.note)
        old.expire_time.FromSeconds(MADE.seconds + int(request.overlap_seconds or 86_400))
        return keys_pb2.RotateKeyResponse(key=new, text=self._text(new), rotated=old)

    def RevokeKey(self, request: Any, context: Any) -> Any:
        self._record("RevokeKey", request, context)
        key = self._key(request.name, context)
        key.revoke_time.CopyFrom(MADE)
        return keys_pb2.RevokeKeyResponse(key=key)

    def WhoAmI(self, request: Any, context: Any) -> Any:
        self._record("WhoAmI", request, context)
        last = next(reversed(self.keys.values()), None)
        return keys_pb2.WhoAmIResponse(key=last, keys_required=bool(self.keys))

    def _new_key(self, tenant: str, roles: Any, heads: Any, note: str) -> keys_pb2.Key:
        name = f"keys/k{len(self.keys) + 1}"
        key = keys_pb2.Key(
            name=name, tenant=tenant, roles=roles, heads=heads, note=note, create_time=MADE
        )
        self.keys[name] = key
        return key

    def _text(self, key: keys_pb2.Key) -> str:
        return f"tlk_text_of_{key.name.removeprefix('keys/')}"

    def _key(self, name: str, context: Any) -> keys_pb2.Key:
        if name not in self.keys:
            refuse(context, "NOT_FOUND", f"there is no {name}", field="name", value=name)
        return self.keys[name]
