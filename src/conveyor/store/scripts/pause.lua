#!lua flags=allow-oom
-- pause: claims give nothing until resume; puts go on.
-- ARGV  none
-- gives OK
redis.call('HSET', META, 'version', PROTOCOL, 'paused', 1)
return {'OK'}
