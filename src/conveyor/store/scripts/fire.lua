#!lua
-- fire: gone -> ready or delayed. The jobs of a schedule's due instants; then the schedule waits for the next one.
-- use: wake, due, accept, schedule
-- ARGV  1 schedule; 2 its next instant as the caller has read it, ms; 3 its next instant after these jobs, ms, empty if
--       there is none; 4 allow, skip or queue: what to do while the job of the instant before has not finished
--       5 priority; 6 how many instants were skipped, 7 how many were missed before these
--       8.. instant (ms), id, bytes, delay (ms) of each job; the oldest first
-- reply OK, how many were put | STALE: another consumer has fired, or the schedule was changed
--       | HELD: the instant waits until the job before has finished | FULL: until that job has been claimed
--       | SHUT | VERSION
-- Atomic because each instant is fired once: only if the next instant is still the one that the caller has read, and
-- instants only advance. So neither a copy of the command nor a caller that was suspended for hours fires again.
-- Refused by a server that is out of memory (no allow-oom).
local FIRST, EACH = 8, 4
local name, expected, following, overlap, priority = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local meta = redis.call('HMGET', META, unpack(ACCEPT_META))
if is_foreign(meta[1]) then return {'VERSION'} end
local due = redis.call('ZSCORE', INSTANTS, name)
if not due or tonumber(due) ~= tonumber(expected) then return {'STALE'} end
if meta[3] then return {'SHUT'} end

local was = read_fired(name)
local function is_unfinished()
  return redis.call('HEXISTS', JOBS, was.job) == 1 and not redis.call('ZSCORE', DEAD, was.job)
end

if overlap == 'queue' and #ARGV >= FIRST and is_unfinished() then
  if was.held == '0' then
    was.held = '1'
    write_fired(name, was)
  end
  return {'HELD'}
end

-- A full queue takes a job of a schedule nevertheless, but not a second one: no instant comes too late because
-- producers wait for room, and the limit is exceeded by at most one job for each schedule.
local maxsize = tonumber(meta[2]) or 0
local function has_room()
  if maxsize == 0 or buffered() < maxsize then return true end
  return not is_unfinished() or redis.call('ZSCORE', LEASED, was.job)
end

local put, skipped = 0, 0
for place = FIRST, #ARGV, EACH do
  local instant, id, delay = tonumber(ARGV[place]), ARGV[place + 1], tonumber(ARGV[place + 3])
  if instant > was.at then -- or it was fired before the server's clock was set back
    if overlap == 'skip' and is_unfinished() then
      skipped = skipped + 1
    elseif not has_room() then
      if put + skipped == 0 then return {'FULL'} end
      following = ARGV[place]
      break
    else
      if redis.call('HEXISTS', JOBS, id) + redis.call('EXISTS', BASE .. 'outcome:' .. id) == 0 then
        local places = accept(ARGV, place + 1, place + 2, priority, false, delay, meta)
        redis.call('ZADD', delay > 0 and DELAYED or READY, unpack(places))
        put = put + 1
      end
      was.job, was.fired = id, was.fired + 1
    end
    was.at = instant
  end
end
ring(put)
was.held, was.skipped, was.missed = '0', was.skipped + skipped + tonumber(ARGV[6]), was.missed + tonumber(ARGV[7])
write_fired(name, was)
if following == '' then redis.call('ZREM', INSTANTS, name) else redis.call('ZADD', INSTANTS, following, name) end
return {'OK', put}
