#!lua flags=allow-oom
-- pause: claims return nothing until resume; puts are accepted.
-- ARGV  none
-- reply OK | VERSION
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
redis.call('HSET', META, 'version', PROTOCOL, 'paused', 1)
return {'OK'}
