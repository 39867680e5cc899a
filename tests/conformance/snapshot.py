"""The whole state of a queue at one moment: all its keys, their content and their lifetimes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conveyor.store import keys

if TYPE_CHECKING:
    import redis

# Removes the time to live of each key, so that none expires before a test reads it again, however slow the host is;
# and marks all waiters as just seen, except those that a test made dead.
_READ = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local read = {
  string = {'GET'}, hash = {'HGETALL'}, set = {'SMEMBERS'}, list = {'LRANGE', 0, -1},
  zset = {'ZRANGE', 0, -1, 'WITHSCORES'}, stream = {'XRANGE', '-', '+'},
}
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  local kind = redis.call('TYPE', key).ok
  local life = redis.call('PTTL', key)
  if life >= 0 then redis.call('PERSIST', key) end
  found[#found + 1] = {string.sub(key, #ARGV[1] + 1), kind, life,
    redis.call(read[kind][1], key, unpack(read[kind], 2))}
end
local seen = redis.call('HGETALL', ARGV[1] .. 'seen')
for place = 1, #seen, 2 do
  if seen[place + 1] ~= '1' then redis.call('HSET', ARGV[1] .. 'seen', seen[place], string.format('%.0f', now)) end
end
return {now, found}
"""


class Snapshot:
    """The content of a queue's keys, by their short names."""

    def __init__(self, raw: redis.Redis, queue: str) -> None:
        self.now, found = raw.eval(_READ, 0, keys.key(queue, ""))
        """The server's time, ms."""
        self.keys: dict[str, Any] = {}
        self.lives: dict[str, float] = {}
        """The keys that were written with a time to live since the last snapshot, and that time, ms."""
        for key, kind, life, content in found:
            name = key.decode()
            self.keys[name] = _content(name, kind.decode(), content)
            if life >= 0:
                self.lives[name] = life
        self.bell = len(self.keys.pop("bell", []))
        self.meta = {field: int(value) for field, value in self.keys.pop("meta", {}).items()}


def _content(name: str, kind: str, content: Any) -> Any:
    if kind in {"string", "list"}:
        return content
    if kind == "set":
        return {member.decode() for member in content}
    if kind == "stream":
        return [fields for _, fields in content]
    pairs = {member.decode(): value for member, value in zip(content[::2], content[1::2], strict=True)}
    if name == "line":
        return list(pairs)
    return (
        {member: float(value) for member, value in pairs.items()}
        if kind == "zset" or name == "seen"
        else pairs
    )
