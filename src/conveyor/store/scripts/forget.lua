#!lua flags=allow-oom
-- forget: remove an empty queue with all its keys except those that expire; and clean up after crashed waiters. Its
--       birth is noted in `deleted`, so that its users do not take it for lost.
-- use: wake, line
-- ARGV  1 how long it must have been unused, ms (0: no matter); 2 yes: remove it, no: only check
-- reply GONE: it is removed | IDLE: it may be removed | USED: it is empty, but was used, is paused or shut down, or has
--       messages for jobs of other queues
--       | LIVE | VERSION; then how many are ready, delayed, leased, dead, deferred
-- A queue is unused from the first check at which it is empty until a job is accepted or claimed. One with schedules is
-- in use.
local MAX_TIDIED = 100
local MAX_DELETED = 20
local DELETED_KEEP = 2592000 -- s
local unused, removes = tonumber(ARGV[1]), ARGV[2] == 'yes'
local version = redis.call('HGET', META, 'version')
if is_foreign(version) then return {'VERSION'} end
local now = server_time()
local sizes = {}
for place, key in ipairs({READY, DELAYED, LEASED, DEAD, DEFERRED}) do sizes[place] = redis.call('ZCARD', key) end

local function answer(word)
  return {word, unpack(sizes)}
end

local function tidy() -- a few at a time of the waiters and joiners that were not seen lately
  local seen = redis.call('EXISTS', SEEN) == 1 and redis.call('HRANDFIELD', SEEN, MAX_TIDIED, 'WITHVALUES') or {}
  local tidied = 0
  for place = 1, #seen, 2 do
    if is_gone(seen[place + 1], now) then
      redis.call('ZREM', LINE, seen[place])
      redis.call('SREM', JOINERS, seen[place])
      redis.call('HDEL', SEEN, seen[place])
      tidied = tidied + 1
    end
  end
  redis.call('ZREMRANGEBYSCORE', INBOXES, '-inf', now)
  if tidied > 0 then make_room(tonumber(redis.call('HGET', META, 'maxsize')) or 0) end
end

local function is_unused()
  local meta = redis.call('HMGET', META, 'accepted', 'token', 'paused', 'shutdown', 'unused')
  if meta[3] or meta[4] or redis.call('EXISTS', SCHEDULES) == 1 then return false end
  local mark = (meta[1] or '') .. ' ' .. (meta[2] or '') .. ' '
  if meta[5] and string.sub(meta[5], 1, #mark) == mark then
    return now - tonumber(string.sub(meta[5], #mark + 1)) >= unused
  end
  redis.call('HSET', META, 'unused', mark .. exact(now))
  return false
end

if sizes[1] + sizes[2] + sizes[3] + sizes[4] + sizes[5] > 0 then
  tidy()
  return answer('LIVE')
end
if redis.call('EXISTS', ENDED, OUTBOX) > 0 or unused > 0 and not is_unused() then
  tidy()
  return answer('USED')
end
if not removes then return answer('IDLE') end
local born = redis.call('HGET', META, 'born')
if born then
  redis.call('LPUSH', BASE .. 'deleted', born)
  redis.call('LTRIM', BASE .. 'deleted', 0, MAX_DELETED - 1)
  redis.call('EXPIRE', BASE .. 'deleted', DELETED_KEEP)
end
redis.call('UNLINK', META, READY, DELAYED, LEASED, LEASES, JOBS, TRIES, PRIORITIES, DEAD, REASONS, BELL, LINE, SEEN,
  JOINERS, INBOXES, WATCHERS, PROGRESS, HISTORY, GROUPS, TOTALS, STREAMS,
  DEFERRED, TERMS, LIMITS, TURNS, FOLLOWED, ENDED, OUTBOX, UNLINKED, SCHEDULES, INSTANTS, FIRED, DECLARED)
return answer('GONE')
