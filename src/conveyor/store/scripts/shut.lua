#!lua flags=allow-oom
-- shut: refuse all puts; queued jobs are still handed out. Wakes all who wait.
-- use: wake
-- ARGV  none
-- reply OK | VERSION
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
redis.call('HSET', META, 'version', PROTOCOL, 'shutdown', 1)
ring(MAX_WAKE_UPS)
for _, waiter in ipairs(redis.call('ZRANGE', LINE, 0, 255)) do wake(waiter) end
return {'OK'}
