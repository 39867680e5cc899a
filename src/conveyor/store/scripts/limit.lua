#!lua flags=allow-oom
-- limit: set how many jobs of the queue may run at a time, and start within a period. Zeros remove the limit.
-- use: wake, terms
-- ARGV  1 max running; 2 max starts; 3 within, ms
-- reply OK | VERSION
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
redis.call('HSET', META, 'version', PROTOCOL)
if ARGV[1] == '0' and ARGV[2] == '0' then
  redis.call('HDEL', LIMITS, '')
else
  redis.call('HSET', LIMITS, '', write_limit({tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), 0, 0, 0, 0}))
end
ring(1)
return {'OK'}
