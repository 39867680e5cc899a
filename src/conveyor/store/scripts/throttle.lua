#!lua flags=allow-oom
-- throttle: leased -> ready, at its old place, and the jobs of its limit, or those of the queue if it has none, rest.
-- use: wake, due, accept, terms, deliver, traces, settle, after, lease
-- ARGV  1 token; 2 id; 3 how long they rest, ms; 4 queue: all jobs of the queue rest; 5 attempt (empty: none)
-- reply OK | cancelled: that was requested | STALE
local token, id = ARGV[1], ARGV[2]
local text = redis.call('HGET', LEASES, id)
if not is_holder(text, token) then return {'STALE'} end
local lease = read_lease(text)
if lease.how == 'C' then
  settle(id, CANCELLED, CANCELLED_KEEP, 'cancelled', server_time())
  conclude()
  return {'cancelled'}
end
local terms = redis.call('HGET', TERMS, id)
local key = terms and ARGV[4] ~= 'queue' and key_of(terms)
local till = limit_time() + tonumber(ARGV[3])
if key then
  local limit = limit_of(key, terms)
  limit[REST] = math.max(limit[REST], till)
else
  local before = tonumber(redis.call('HGET', META, 'rest')) or 0
  redis.call('HSET', META, 'rest', exact(math.max(before, till)))
end
redis.call('ZREM', LEASED, id)
redis.call('HDEL', LEASES, id)
redis.call('HDEL', PROGRESS, id)
put_back(id, lease.place)
add_attempt(id, ARGV[5], ATTEMPT_KEEP)
conclude()
ring(1)
return {'OK'}
