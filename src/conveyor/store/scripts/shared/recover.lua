-- Bounded slices of what anybody does for everybody: jobs that came due, leases that ran out. Of a queue of a version
-- that is not known here, nothing: a holder renews and settles its own jobs there, and leaves those of others alone.
local MOST_DUE, MOST_LAPSED = 64, 32
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

local function promote(now) -- delayed -> ready, at a new place; gives how many
  if redis.call('EXISTS', DELAYED) == 0 or is_foreign(redis.call('HGET', META, 'version')) then return 0 end
  local due = redis.call('ZRANGEBYSCORE', DELAYED, '-inf', due_clock(now), 'LIMIT', 0, MOST_DUE)
  if #due == 0 then return 0 end
  local last = redis.call('HINCRBY', META, 'sequence', #due)
  local places = {}
  for offset, id in ipairs(due) do
    local priority = tonumber(redis.call('HGET', PRIORITIES, id) or 0)
    places[#places + 1] = exact((255 - priority) * LEVEL + last - #due + offset)
    places[#places + 1] = id
  end
  redis.call('ZREM', DELAYED, unpack(due))
  redis.call('HDEL', PRIORITIES, unpack(due))
  redis.call('ZADD', READY, unpack(places))
  return #due
end

-- An attempt that nobody can say more about.
local function unheard(number, owner, state, why)
  return cmsgpack.pack({number, 0, 0, owner, state, 'LeaseLost', why})
end

-- The worker died under a job, or its lease ran out. Only a job that had started is suspected; one that was merely
-- held, or whose consumer was leaving, goes back without blame, but is from then on never claimed together with others.
-- What a supervisor saw is a crash; a lease that ran out is counted apart and borne with for longer, for the host or
-- the network may be to blame.
local function take_back(id, lease, reason, now)
  local retries, crashes, recoveries, lapses = read_tries(id)
  if lease.how == 'C' then
    settle(id, reason.cancelled, reason.keep_ms, 'cancelled', now)
    return 'cancelled'
  end
  local attempt, number = '', retries + crashes + lapses + 1
  if lease.how == 'S' then
    attempt = reason.attempt or unheard(number, lease.owner, 'lost', 'its worker was not heard of any more')
    if reason.lapsed then lapses = lapses + 1 else crashes = crashes + 1 end
  elseif lease.how == 'L' then
    attempt = unheard(number, lease.owner, 'killed', 'its consumer was leaving, and ended before the run did')
  end
  if crashes >= CRASH_BUDGET or lapses >= LAPSE_BUDGET then
    write_tries(id, retries, crashes, recoveries, lapses)
    bury(id, lease.place, {lost = reason.lost, keep_ms = reason.keep_ms, attempt = attempt, group = reason.group}, now)
    return 'dead'
  end
  if attempt ~= '' then add_attempt(id, attempt, ATTEMPT_KEEP) end
  write_tries(id, retries, crashes, recoveries + 1, lapses)
  redis.call('ZREM', LEASED, id)
  redis.call('HDEL', LEASES, id)
  redis.call('HDEL', PROGRESS, id)
  redis.call('ZADD', READY, lease.place, id)
  return 'ready'
end

local LAPSED = {
  lapsed = true,
  cancelled = WISHED,
  lost = cmsgpack.pack({'lost', {'LeaseLost', 'ten leases of its runs ran out: their workers were never heard of again',
    ''}, 0}),
  keep_ms = WISHED_KEEP,
  group = 'lost',
}

local function reap(clock, now) -- leases that ran out; gives how many
  local lapsed = redis.call('ZRANGEBYSCORE', LEASED, '-inf', clock, 'LIMIT', 0, MOST_LAPSED)
  if #lapsed == 0 or is_foreign(redis.call('HGET', META, 'version')) then return 0 end
  for _, id in ipairs(lapsed) do
    local text = redis.call('HGET', LEASES, id)
    if text then
      take_back(id, read_lease(text), LAPSED, now)
    else -- an index entry without a lease: somebody else wrote to our keys
      redis.call('ZREM', LEASED, id)
      redis.call('HINCRBY', META, 'orphans', 1)
    end
  end
  redis.call('HINCRBY', META, 'lapsed', #lapsed)
  tell_joiners() -- some may have ended here
  return #lapsed
end
