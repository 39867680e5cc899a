#!lua flags=allow-oom
-- join: tell whether all jobs are over; if not, the joiner is woken when they are.
-- ARGV  1 joiner
-- gives DONE | LIVE, how many are not over
local live = redis.call('ZCARD', READY) + redis.call('ZCARD', DELAYED) + redis.call('ZCARD', LEASED)
if live == 0 then
  redis.call('SREM', JOINERS, ARGV[1])
  return {'DONE'}
end
redis.call('SADD', JOINERS, ARGV[1])
return {'LIVE', live}
