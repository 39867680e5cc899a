#!lua flags=allow-oom
-- join: check if all jobs are finished; if not, the joiner is woken when they are. Also removes a few crashed joiners.
-- use: wake, line
-- ARGV  1 joiner
-- reply DONE | LIVE, how many are unfinished
local live = buffered() + redis.call('ZCARD', LEASED)
if live == 0 then
  redis.call('SREM', JOINERS, ARGV[1])
  redis.call('HDEL', SEEN, ARGV[1])
  return {'DONE'}
end
local now = server_time()
redis.call('SADD', JOINERS, ARGV[1])
redis.call('HSET', SEEN, ARGV[1], now)
for _, other in ipairs(redis.call('SRANDMEMBER', JOINERS, 8)) do
  if is_gone(redis.call('HGET', SEEN, other), now) then
    redis.call('SREM', JOINERS, other)
    redis.call('HDEL', SEEN, other)
  end
end
return {'LIVE', live}
