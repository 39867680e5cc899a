#!lua flags=allow-oom
-- wait: look for the signal that a running job waits for, or the end of its sleep. The first look sets the end.
-- use: lease, due, steps
-- ARGV  1 token; 2 id; 3 wait or sleep; 4 name; 5 ms until the end, or never
-- reply OK, the value of the signal | OVER: the end has passed | WAIT | FULL: the job would keep too much | STALE
-- Atomic because either the signal comes first or the end does, for good.
local token, id, kind, name = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if not is_holder(redis.call('HGET', LEASES, id), token) then return {'STALE'} end
local signal = kind == 'wait' and kept_step(id, 'signal ' .. name)
if signal then
  if signal == '' then return {'OVER'} end
  return {'OK', signal}
end
local today, field = due_clock(server_time()), kind .. ' ' .. name
local till = kept_step(id, field)
if not till then
  till = exact(ARGV[5] == 'never' and NEVER or math.min(NEVER, today + tonumber(ARGV[5])))
  if not keep_step(id, field, till) then return {'FULL'} end
end
if tonumber(till) > today then return {'WAIT'} end
if kind == 'wait' and not keep_step(id, 'signal ' .. name, '') then return {'FULL'} end
return {'OVER'}
