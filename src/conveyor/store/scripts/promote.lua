#!lua flags=allow-oom
-- promote: delayed -> ready, a slice of the due jobs.
-- use: wake, due, accept, terms, deliver, traces, settle, after, lease, recover
-- ARGV  none
-- reply OK, how many | VERSION
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
local moved = promote(server_time())
if moved > 0 then ring(moved) end
return {'OK', moved}
