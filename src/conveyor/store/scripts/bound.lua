#!lua flags=allow-oom
-- bound: set the max size, and wake producers if that makes room. 0 removes the limit.
-- use: wake
-- ARGV  1 maxsize
-- reply OK | VERSION
local version = redis.call('HGET', META, 'version')
if is_foreign(version) then return {'VERSION'} end
redis.call('HSET', META, 'version', PROTOCOL, 'maxsize', ARGV[1])
make_room(tonumber(ARGV[1]))
return {'OK'}
