-- The end of a job: removed from all indexes, its outcome kept and delivered.
local MAX_DEAD = 10000
local MAX_ATTEMPTS = 20
local MAX_KEEP = 315360000 -- s, ten years
local ATTEMPT_KEEP, DEAD_KEEP = 86400000, 604800000 -- ms: of a live job, and of a dead one
-- The outcome of a job with a requested cancellation that no worker reports.
local CANCELLED, CANCELLED_KEEP = cmsgpack.pack({'cancelled', false, 0}), 3600000

local function forget_index(id)
  redis.call('ZREM', READY, id)
  redis.call('ZREM', DELAYED, id)
  redis.call('ZREM', DEFERRED, id)
  redis.call('ZREM', LEASED, id)
  redis.call('HDEL', LEASES, id)
  redis.call('HDEL', PRIORITIES, id)
end

-- How long, in ms, a job wants its outcome kept; nil for the default. A job with a `keep` (conveyor/wire/call.py) is an
-- array of five or seven parts, and ends with it as a float, in its last nine bytes. Nothing else is decoded, since the
-- rest may be large and hostile.
local function own_keep(id)
  local bytes = redis.call('HGET', JOBS, id)
  local parts = bytes and string.byte(bytes)
  if parts ~= 0x95 and parts ~= 0x97 or string.byte(bytes, -9) ~= 0xcb then return nil end
  local keep = cmsgpack.unpack(string.sub(bytes, -9))
  if keep >= 0 and keep <= MAX_KEEP then return math.floor(keep * 1000) end
end

-- keep_ms: of a job without a `keep`
local function settle(id, outcome, keep_ms, counter, now)
  local letters = {}
  keep_ms = own_keep(id) or keep_ms
  forget_index(id)
  redis.call('HDEL', JOBS, id)
  redis.call('HINCRBY', META, counter, 1)
  deliver(letters, id, outcome, keep_ms, now)
  redis.call('HDEL', TRIES, id)
  clear_traces(letters, {id}, {outcome})
  send_letters(letters)
end

-- Attempts that were not the last, or failed, are kept for people; none of a job that succeeds the first time.
local function add_attempt(id, attempt, keep_ms)
  local list = BASE .. 'attempts:' .. id
  if attempt ~= '' then
    redis.call('RPUSH', list, attempt)
    redis.call('LTRIM', list, -MAX_ATTEMPTS, -1)
  end
  redis.call('PEXPIRE', list, keep_ms)
end

-- Make a job dead, which keeps its bytes, its priority, and its tries.
-- place: position in ready; reason: lost, the outcome; keep_ms; attempt; group
local function make_dead(id, place, reason, now)
  local letters = {}
  forget_index(id)
  local priority = 255 - base_of(place) / LEVEL -- of a key with a fraction
  if priority > 0 then redis.call('HSET', PRIORITIES, id, priority) end
  -- The newest must be the last, even if the clock was set back, since the first is dropped.
  local newest = tonumber(redis.call('ZRANGE', DEAD, -1, -1, 'WITHSCORES')[2]) or 0
  redis.call('ZADD', DEAD, newest > now and newest + 1 or now, id)
  redis.call('HSET', REASONS, id, reason.lost)
  redis.call('HSET', GROUPS, id, reason.group)
  add_attempt(id, reason.attempt, DEAD_KEEP)
  deliver(letters, id, reason.lost, reason.keep_ms, now)
  clear_traces(letters, {id}, {reason.lost}, true)
  send_letters(letters)
  if redis.call('ZCARD', DEAD) > MAX_DEAD then
    local oldest = redis.call('ZPOPMIN', DEAD)[1]
    redis.call('HDEL', REASONS, oldest)
    redis.call('HDEL', GROUPS, oldest)
    redis.call('HDEL', JOBS, oldest)
    redis.call('HDEL', TRIES, oldest)
    redis.call('HDEL', TERMS, oldest)
    redis.call('HDEL', PRIORITIES, oldest)
    redis.call('DEL', BASE .. 'attempts:' .. oldest)
    drop_inputs({oldest})
    forget_steps({oldest})
    redis.call('HINCRBY', META, 'discarded', 1)
    remember('discarded', oldest)
  end
end
