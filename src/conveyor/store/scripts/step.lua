#!lua
-- step: keep a value of a running job: the result of a step, the first one, or its cursor, the last one.
-- use: lease, steps
-- ARGV  1 token; 2 id; 3 field; 4 value; 5 first, or the number of the save: one with a lower number has come late
-- reply OK | KEPT, the value that was kept before | FULL: the job would keep too much | STALE
-- Atomic because a run that has lost its lease must keep nothing. Refused by a server that is out of memory (no
-- allow-oom).
local token, id, field, value = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if not is_holder(redis.call('HGET', LEASES, id), token) then return {'STALE'} end
local kept, save = kept_step(id, field), tonumber(ARGV[5])
if save then
  if kept and tonumber(string.match(kept, '^%d+')) >= save then return {'OK'} end
  value = ARGV[5] .. ' ' .. value
elseif kept then
  return kept == value and {'OK'} or {'KEPT', kept}
end
return {keep_step(id, field, value) and 'OK' or 'FULL'}
