#!lua flags=allow-oom
-- reap: leased -> ready, dead or cancelled, a slice of the jobs with expired leases.
-- use: wake, due, accept, terms, deliver, traces, settle, after, lease, recover
-- ARGV  none
-- reply OK, how many | VERSION
local now = server_time()
local meta = redis.call('HMGET', META, 'clock', 'wall', 'version')
if is_foreign(meta[3]) then return {'VERSION'} end
local clock = lease_clock(meta[1], meta[2], now)
local moved = 0
if redis.call('EXISTS', LEASED) == 1 then
  redis.call('HSET', META, 'clock', exact(clock), 'wall', exact(now))
  moved = reap(clock, now)
end
if moved > 0 then ring(moved) end
return {'OK', moved}
