#!lua flags=allow-oom
-- bound: set how many jobs may wait, and wake producers if that makes room. 0 means any number.
-- use: wake
-- ARGV  1 maxsize
-- gives OK | VERSION
local version = redis.call('HGET', META, 'version')
if is_foreign(version) then return {'VERSION'} end
redis.call('HSET', META, 'version', PROTOCOL, 'maxsize', ARGV[1])
make_room(tonumber(ARGV[1]))
return {'OK'}
