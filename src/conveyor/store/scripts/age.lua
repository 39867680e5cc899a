#!lua flags=allow-oom
-- age: set how often a claim goes past the priorities, so that low ones do not starve.
-- ARGV  1 of how many claims one takes the first job of the priority of a random waiting job; 0: none
-- reply OK | VERSION
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
redis.call('HSET', META, 'version', PROTOCOL, 'ageing', ARGV[1])
return {'OK'}
