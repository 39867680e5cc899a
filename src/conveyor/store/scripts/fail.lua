#!lua flags=allow-oom
-- fail: leased -> dead. The job's bytes stay, so that it can be revived.
-- use: wake, due, accept, terms, deliver, traces, settle, after, lease
-- ARGV  1 token; 2 id; 3 outcome; 4 keep, ms; 5 note for the history; 6 attempt (empty: none)
--       7 group of failures
-- reply OK | STALE
local token, id = ARGV[1], ARGV[2]
local text = redis.call('HGET', LEASES, id)
if not is_holder(text, token) then
  return {redis.call('HGET', REASONS, id) == ARGV[3] and 'OK' or 'STALE'} -- OK: this command arrived twice
end
local reason = {lost = ARGV[3], keep_ms = tonumber(ARGV[4]), attempt = ARGV[6], group = ARGV[7]}
make_dead(id, read_lease(text).place, reason, server_time())
remember('end', ARGV[5])
conclude()
return {'OK'}
