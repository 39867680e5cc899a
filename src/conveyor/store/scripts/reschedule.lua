#!lua flags=allow-oom
-- reschedule: pause, resume or remove a schedule.
-- use: schedule
-- ARGV  1 schedule; 2 pause, resume or remove; 3 the first instant after a resume, ms
-- reply OK | SAME: it was so before | GONE: there is none to pause or resume | VERSION
local name, action = ARGV[1], ARGV[2]
local version = redis.call('HGET', META, 'version')
if is_foreign(version) then return {'VERSION'} end
if redis.call('HEXISTS', SCHEDULES, name) == 0 then return {action == 'remove' and 'SAME' or 'GONE'} end
local is_paused = not redis.call('ZSCORE', INSTANTS, name)
if action == 'remove' then
  forget_schedule(name)
elseif is_paused == (action == 'pause') then
  return {'SAME'}
elseif action == 'pause' then
  redis.call('ZREM', INSTANTS, name)
else
  redis.call('ZADD', INSTANTS, ARGV[3], name)
end
return {'OK'}
