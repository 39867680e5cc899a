#!lua flags=allow-oom
-- lost: leased -> ready, or dead once the crash budget is spent. The supervisor saw the worker crash during this job.
-- use: wake, due, accept, terms, deliver, traces, settle, after, lease, recover
-- ARGV  1 token; 2 id; 3 outcome if it is dead now; 4 outcome if its cancellation was requested; 5 keep, ms; 6 note
--       7 attempt (empty: none); 8 group of failures
-- reply ready | dead | cancelled | STALE
local token, id = ARGV[1], ARGV[2]
local text = redis.call('HGET', LEASES, id)
if not is_holder(text, token) then return {'STALE'} end
local lease = read_lease(text)
if lease.how ~= 'C' then lease.how = 'S' end -- the supervisor knows that it had started, and crashed
local reason = {
  lost = ARGV[3], cancelled = ARGV[4], keep_ms = tonumber(ARGV[5]), attempt = ARGV[7], group = ARGV[8],
}
local state = take_back(id, lease, reason, server_time())
remember('end', ARGV[6])
if state == 'ready' then ring(1) end
conclude()
return {state}
