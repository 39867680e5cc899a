#!lua flags=allow-oom
-- retry: leased -> delayed (or ready, without a delay), one retry used.
-- use: wake, due, accept, terms, deliver, traces, settle, after, lease, recover
-- ARGV  1 token; 2 id; 3 delay, ms; 4 note for the history; 5 attempt (empty: none)
-- reply OK | cancelled: that was requested | STALE
local token, id, delay = ARGV[1], ARGV[2], tonumber(ARGV[3])
local text = redis.call('HGET', LEASES, id)
if not is_holder(text, token) then return {'STALE'} end
local lease = read_lease(text)
if lease.how == 'C' then
  settle(id, CANCELLED, CANCELLED_KEEP, 'cancelled', server_time())
  conclude()
  return {'cancelled'}
end
local retries, crashes, recoveries, lapses = read_tries(id)
local priority = 255 - base_of(lease.place) / LEVEL
redis.call('ZREM', LEASED, id)
redis.call('HDEL', LEASES, id)
redis.call('HDEL', PROGRESS, id)
write_tries(id, retries + 1, crashes, recoveries, lapses)
if priority > 0 then redis.call('HSET', PRIORITIES, id, priority) end
redis.call('ZADD', DELAYED, exact(due_clock(server_time()) + delay), id)
rest_until_due(id)
remember('end', ARGV[4])
add_attempt(id, ARGV[5], ATTEMPT_KEEP)
if delay == 0 then promote(server_time()) end
conclude()
ring(1)
return {'OK'}
