#!lua flags=allow-oom
-- schedule: set recurring jobs: one at run time, or all that a module declares, in place of those it declared before.
-- use: schedule
-- ARGV  1 module, empty at run time; 2 start of the consumer that declares, ms; 3.. name, timing (equal for equal
--       instants), definition, first instant (ms) of each
-- reply OK | TAKEN, name: a module declares it | STALE: a consumer that started later has declared this module
--       | MANY | VERSION
-- A schedule that exists stays paused if it is, and keeps its next instant if its timing is the same, so that instants
-- which pass while no consumer runs are noticed. Atomic because a module's schedules are replaced together.
local MAX_SCHEDULES, FIRST, EACH = 1000, 3, 4
local module, start = ARGV[1], tonumber(ARGV[2])
local version = redis.call('HGET', META, 'version')
if is_foreign(version) then return {'VERSION'} end
local function read(text)
  return string.match(text, '^([^\n]*)\n([^\n]*)\n')
end

local last = module ~= '' and tonumber(redis.call('HGET', DECLARED, module)) or 0
if start < last and last <= server_time() then return {'STALE'} end -- or the server's clock was set back
local before, size = {}, 0
local found = redis.call('HGETALL', SCHEDULES)
for place = 1, #found, 2 do
  before[found[place]] = found[place + 1]
  size = size + 1
end
local kept = {}
for place = FIRST, #ARGV, EACH do
  local name = ARGV[place]
  if module == '' and before[name] and read(before[name]) ~= '' then return {'TAKEN', name} end
  if not before[name] then size = size + 1 end
  kept[name] = true
end
if size > MAX_SCHEDULES then return {'MANY'} end

redis.call('HSET', META, 'version', PROTOCOL)
if module ~= '' then
  redis.call('HSET', DECLARED, module, exact(start))
  for name, text in pairs(before) do
    if read(text) == module and not kept[name] then forget_schedule(name) end
  end
end
for place = FIRST, #ARGV, EACH do
  local name, timing = ARGV[place], ARGV[place + 1]
  local _, old_timing = read(before[name] or '\n\n')
  local is_paused = before[name] and not redis.call('ZSCORE', INSTANTS, name)
  redis.call('HSET', SCHEDULES, name, module .. '\n' .. timing .. '\n' .. ARGV[place + 2])
  if not is_paused and timing ~= old_timing then redis.call('ZADD', INSTANTS, ARGV[place + 3], name) end
end
return {'OK'}
