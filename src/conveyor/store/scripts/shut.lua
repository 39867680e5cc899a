#!lua flags=allow-oom
-- shut: no put is accepted any more; what waits is still given out. Everyone who waits looks again.
-- use: wake
-- ARGV  none
-- gives OK | VERSION
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
redis.call('HSET', META, 'version', PROTOCOL, 'shutdown', 1)
ring(MOST_HINTS)
for _, waiter in ipairs(redis.call('ZRANGE', LINE, 0, 255)) do wake(waiter) end
return {'OK'}
