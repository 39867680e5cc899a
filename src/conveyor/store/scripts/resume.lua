#!lua flags=allow-oom
-- resume: undo pause and shut.
-- use: wake
-- ARGV  none
-- reply OK | VERSION
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
redis.call('HDEL', META, 'paused', 'shutdown')
ring(math.min(redis.call('ZCARD', READY), MAX_WAKE_UPS))
make_room(tonumber(redis.call('HGET', META, 'maxsize')) or 0)
return {'OK'}
