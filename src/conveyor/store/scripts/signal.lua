#!lua
-- signal: keep a value for which a job waits or will wait, the first one; delayed -> ready if it waits for it.
-- use: wake, due, accept, terms, deliver, traces, settle, after, lease, recover, steps
-- ARGV  1 id; 2 name; 3 value
-- reply OK | KEPT: this signal came before, or the wait for it has timed out | FULL: the job would keep too much
--       | over | gone | VERSION
-- Atomic because a job that is suspended meanwhile must be woken. Refused by a server that is out of memory (no
-- allow-oom).
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
local id, name, value = ARGV[1], ARGV[2], ARGV[3]
if redis.call('HEXISTS', JOBS, id) == 0 then
  return {redis.call('EXISTS', BASE .. 'outcome:' .. id) == 1 and 'over' or 'gone'}
end
local field = 'signal ' .. name
local kept = kept_step(id, field)
-- A wait that has timed out may still get its signal if the job is dead: it counts once that is revived.
if kept and not (kept == '' and redis.call('ZSCORE', DEAD, id)) then return {kept == value and 'OK' or 'KEPT'} end
if not keep_step(id, field, value) then return {'FULL'} end
local due = redis.call('ZSCORE', DELAYED, id)
local till = due and kept_step(id, 'wait ' .. name)
if till and tonumber(due) == tonumber(till) then -- otherwise it waits for something else, such as a retry
  redis.call('ZADD', DELAYED, 0, id)
  promote(server_time())
  ring(1)
end
return {'OK'}
