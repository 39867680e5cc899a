#!lua flags=allow-oom
-- pause: claims give nothing until resume; puts go on.
-- ARGV  none
-- gives OK | VERSION
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
redis.call('HSET', META, 'version', PROTOCOL, 'paused', 1)
return {'OK'}
