#!lua flags=no-writes,allow-stale
-- due: the schedules of a queue whose next instant has come, a few at a time.
-- use: schedule
-- ARGV  1 how many at most; 2 how many to leave out, which were due before and stay so
-- reply the time, ms; ms until the next instant, -1 without one; then schedule, its instant, definition and what it has
--       fired (empty: nothing yet) of each that is due
local most, first = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = schedule_clock()
local found = redis.call('ZRANGE', INSTANTS, first, first + most, 'WITHSCORES') -- and the next one
local reply = {exact(now), -1}
for place = 1, #found, 2 do
  local name, instant = found[place], tonumber(found[place + 1])
  if instant > now or place > 2 * most then
    reply[2] = math.max(0, instant - now)
    break
  end
  local definition = redis.call('HGET', SCHEDULES, name) or ''
  for _, part in ipairs({name, exact(instant), definition, redis.call('HGET', FIRED, name) or ''}) do
    reply[#reply + 1] = part
  end
end
return reply
