-- Bounded slices of work that claims and renewals do for all: due jobs, expired leases. Nothing for a queue of an
-- unknown version: a holder renews and settles its own jobs there, and does not touch those of others.
local MAX_DUE, MAX_LAPSED, MAX_KEYS = 64, 32, 16
local CRASH_BUDGET, LAPSE_BUDGET = 3, 10

local function read_tries(id) -- retries used, crashes, recoveries, lapses of started runs
  local text = redis.call('HGET', TRIES, id)
  if not text then return 0, 0, 0, 0 end
  local retries, crashes, recoveries, lapses = string.match(text, '^(%d+) (%d+) (%d+) ?(%d*)$')
  return tonumber(retries), tonumber(crashes), tonumber(recoveries), tonumber(lapses) or 0
end

local function write_tries(id, retries, crashes, recoveries, lapses)
  local text = retries .. ' ' .. crashes .. ' ' .. recoveries
  if lapses > 0 then
    take_over(redis.call('HGET', META, 'version'))
    text = text .. ' ' .. lapses
  end
  redis.call('HSET', TRIES, id, text)
end

-- What time or earlier ends have made possible: the followers still to be told, the keys whose turn it is.
local function catch_up()
  if redis.call('EXISTS', UNLINKED) == 1 then note_more() end
  if redis.call('EXISTS', ENDED) == 1 then tell_followers() end
  local keys = redis.call('ZRANGEBYSCORE', TURNS, '-inf', limit_time(), 'LIMIT', 0, MAX_KEYS)
  for _, key in ipairs(keys) do limit_of(key).freed = true end
  if #keys > 0 then redis.call('ZREM', TURNS, unpack(keys)) end
  return admit_next()
end

local function promote(now) -- delayed -> ready, at a new position; returns how many
  if redis.call('EXISTS', DELAYED, TURNS, ENDED, UNLINKED) == 0 then return 0 end
  if is_foreign(redis.call('HGET', META, 'version')) then return 0 end
  local admitted = catch_up()
  local due = redis.call('ZRANGEBYSCORE', DELAYED, '-inf', due_clock(now), 'LIMIT', 0, MAX_DUE)
  if #due == 0 then return admitted end
  local last = redis.call('HINCRBY', META, 'sequence', #due)
  local places = {}
  local terms = redis.call('EXISTS', TERMS) == 1 and redis.call('HMGET', TERMS, unpack(due)) or {}
  for offset, id in ipairs(due) do
    local priority = tonumber(redis.call('HGET', PRIORITIES, id) or 0)
    local place = exact((255 - priority) * LEVEL + last - #due + offset)
    if terms[offset] then
      come_due(id, terms[offset], place)
    else
      places[#places + 1] = place
      places[#places + 1] = id
    end
  end
  redis.call('ZREM', DELAYED, unpack(due))
  redis.call('HDEL', PRIORITIES, unpack(due))
  if #places > 0 then redis.call('ZADD', READY, unpack(places)) end
  return #due + admitted + admit_next()
end

-- An attempt whose worker reported nothing.
local function unreported(number, owner, state, why)
  return cmsgpack.pack({number, 0, 0, owner, state, 'LeaseLost', why})
end

-- The worker crashed during a job, or the lease expired. Only a job that had started may be the cause; one that was
-- only prefetched, or whose consumer was exiting, does not count as crashed, but is claimed alone from then on. A
-- supervisor reports a crash. An expired lease is counted separately, with a larger budget, since the host or the
-- network may be the cause.
local function take_back(id, lease, reason, now)
  local retries, crashes, recoveries, lapses = read_tries(id)
  if lease.how == 'C' then
    settle(id, reason.cancelled, reason.keep_ms, 'cancelled', now)
    return 'cancelled'
  end
  local attempt, number = '', retries + crashes + lapses + 1
  if lease.how == 'S' then
    attempt = reason.attempt or unreported(number, lease.owner, 'lost', 'its worker missed its heartbeats')
    if reason.lapsed then lapses = lapses + 1 else crashes = crashes + 1 end
  elseif lease.how == 'L' then
    attempt = unreported(number, lease.owner, 'killed', 'its consumer was exiting, and ended before the run did')
  end
  if crashes >= CRASH_BUDGET or lapses >= LAPSE_BUDGET then
    write_tries(id, retries, crashes, recoveries, lapses)
    local final = {lost = reason.lost, keep_ms = reason.keep_ms, attempt = attempt, group = reason.group}
    make_dead(id, lease.place, final, now)
    return 'dead'
  end
  if attempt ~= '' then add_attempt(id, attempt, ATTEMPT_KEEP) end
  write_tries(id, retries, crashes, recoveries + 1, lapses)
  redis.call('ZREM', LEASED, id)
  redis.call('HDEL', LEASES, id)
  redis.call('HDEL', PROGRESS, id)
  put_back(id, lease.place)
  return 'ready'
end

local LAPSED = {
  lapsed = true,
  cancelled = CANCELLED,
  lost = cmsgpack.pack({'lost', {'LeaseLost', 'ten leases of its runs expired: their workers missed their heartbeats',
    ''}, 0}),
  keep_ms = CANCELLED_KEEP,
  group = 'lost',
}

local function reap(clock, now) -- expired leases; returns how many
  local lapsed = redis.call('ZRANGEBYSCORE', LEASED, '-inf', clock, 'LIMIT', 0, MAX_LAPSED)
  if #lapsed == 0 or is_foreign(redis.call('HGET', META, 'version')) then return 0 end
  for _, id in ipairs(lapsed) do
    local text = redis.call('HGET', LEASES, id)
    if text then
      take_back(id, read_lease(text), LAPSED, now)
    else -- an index entry without a lease: another program wrote to our keys
      redis.call('ZREM', LEASED, id)
      redis.call('HINCRBY', META, 'orphans', 1)
      end_terms({id}, {})
    end
  end
  redis.call('HINCRBY', META, 'lapsed', #lapsed)
  conclude() -- some may have finished here
  return #lapsed
end
