#!lua flags=allow-oom
-- suspend: leased -> delayed until the end of a wait or a sleep, or ready if that or the signal has come. No retry is
--          used. Its slot is free meanwhile, unless the jobs of its limit run in order.
-- use: wake, due, accept, terms, deliver, traces, settle, after, lease, recover, steps
-- ARGV  1 token; 2 id; 3 wait or sleep; 4 name; 5 attempt (empty: none)
-- reply OK | cancelled: that was requested | STALE
-- Atomic because a signal that comes after the last look must not be missed.
local token, id, kind, name = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local text = redis.call('HGET', LEASES, id)
if not is_holder(text, token) then return {'STALE'} end
local lease = read_lease(text)
local now = server_time()
if lease.how == 'C' then
  settle(id, CANCELLED, CANCELLED_KEEP, 'cancelled', now)
  conclude()
  return {'cancelled'}
end
local till = tonumber(kept_step(id, kind .. ' ' .. name) or 0)
if till <= due_clock(now) or kind == 'wait' and kept_step(id, 'signal ' .. name) then till = 0 end
local priority = 255 - base_of(lease.place) / LEVEL
redis.call('ZREM', LEASED, id)
redis.call('HDEL', LEASES, id)
redis.call('HDEL', PROGRESS, id)
if priority > 0 then redis.call('HSET', PRIORITIES, id, priority) end
redis.call('ZADD', DELAYED, exact(till), id)
rest_until_due(id)
if ARGV[5] ~= '' then add_attempt(id, ARGV[5], ATTEMPT_KEEP) end
if till == 0 then promote(now) end
conclude()
if till < NEVER then ring(1) end
return {'OK'}
