#!lua flags=allow-oom
-- end_rest: end the rest that a task has asked for: of the queue, or of the jobs of one limit.
-- use: wake, due, accept, terms, deliver, traces, settle, after
-- ARGV  1 key of the limit; empty: the queue
-- reply OK, 1 if it rested, otherwise 0 | VERSION
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
local key, till = ARGV[1]
if key == '' then
  till = tonumber(redis.call('HGET', META, 'rest')) or 0
  redis.call('HDEL', META, 'rest')
else
  local limit = limit_of(key)
  till, limit[REST], limit.freed = limit[REST], 0, true
  conclude()
end
local rested = till > limit_time()
if rested then ring(math.min(math.max(1, redis.call('ZCARD', READY)), MAX_WAKE_UPS)) end
return {'OK', rested and 1 or 0}
