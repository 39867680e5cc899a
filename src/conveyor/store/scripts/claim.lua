#!lua flags=allow-oom
-- claim: ready -> leased, the first few in order, under one new token; does a slice of promote and reap as well.
-- use: wake, due, lease
-- ARGV  1 owner; 2 nonce: the same nonce again returns the same batch; 3 max jobs, 0 for the batch of an earlier claim
--       with this nonce, which returns nothing if it arrives later; 4 lease, ms
--       5 max bytes of the jobs of one batch; 6 how the first of them is held: S or H
--       7 new, or again if a reply to this nonce may have been lost
-- reply OK, token, ready jobs left, ms until something may change without a put, then id, bytes, tries of each job
--       these ms are negative if there are messages in the outbox
--       | EMPTY, these ms | PAUSED or SHUT, these ms or nothing | VERSION
--       tries is "retries crashes recoveries", with " lapses" if there are any, or empty
-- Atomic because a job must never be in two indexes or in none.
local MANY, PADDING = 64, string.rep('0', 64)
local MAX_WITH_TERMS = 100 -- jobs with more than a limit, or if claims change limits
local MAX_ROUNDS = 8 -- in which jobs are deferred whose limit has begun to rest
local owner, nonce, want = ARGV[1], ARGV[2], tonumber(ARGV[3])
local lease_ms, max_bytes, first_how = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local now = server_time()
local meta = redis.call('HMGET', META, 'version', 'maxsize', 'paused', 'shutdown', 'token', 'clock', 'wall', 'rest',
  'ageing')
if is_foreign(meta[1]) then return {'VERSION'} end
take_over(meta[1])

local claim_key = BASE .. 'claim:' .. owner
local last = redis.call('GET', claim_key)
if last and string.sub(last, 1, #nonce + 1) == nonce .. ' ' then -- the reply was lost: return the same batch
  local words = {}
  for word in string.gmatch(last, '%S+') do words[#words + 1] = word end
  local reply = {'OK', words[2], redis.call('ZCARD', READY), 1000}
  for place = 3, #words do
    if is_holder(redis.call('HGET', LEASES, words[place]), words[2]) then
      reply[#reply + 1] = words[place]
      reply[#reply + 1] = redis.call('HGET', JOBS, words[place])
      reply[#reply + 1] = redis.call('HGET', TRIES, words[place]) or ''
    end
  end
  return reply
end
-- An owner counts its claims: a nonce is a name and a number. One that arrives behind a later one is a delayed
-- duplicate. No worker would run its batch.
do
  local name, number = string.match(nonce, '^(.+)%.(%d+)$')
  local last_name, last_number = string.match(last or '', '^(%S+)%.(%d+) ')
  if name and name == last_name and tonumber(number) < tonumber(last_number) then return {'EMPTY', 1000} end
end

local function nothing(...) -- a copy of this command that is still under way must return nothing, too
  if want == 0 or ARGV[7] == 'again' then redis.call('SET', claim_key, nonce .. ' 0', 'PX', 60000) end
  return {...}
end
if want == 0 then return nothing('EMPTY', 60000) end

local soonest = 60000 -- ms until a delayed job becomes due or a lease expires
local clock = lease_clock(meta[6], meta[7], now)
local due = redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2]
local today = due and due_clock(now)
if due then soonest = math.min(soonest, math.max(1, tonumber(due) - today)) end
local lapse = redis.call('ZRANGE', LEASED, 0, 0, 'WITHSCORES')[2]
if lapse then
  soonest = math.min(soonest, math.max(1, tonumber(lapse) - clock))
  redis.call('HSET', META, 'clock', exact(clock), 'wall', exact(now))
end

-- Lease the first of some ready jobs (id, place, …): how many depends on their bytes, and on their tries. wait: ms for
-- the reply; is_apart: there is only one, and others may come before it. Returns the reply, and the ids of entries
-- without a job.
local function lease(first, tries, wait, is_apart)
  local ids = {}
  for place = 1, #first, 2 do ids[#ids + 1] = first[place] end
  -- A recovered job is claimed alone, so that if it kills workers, no other job is counted as crashed. The bytes are
  -- read a few at a time, since later ones may be large: at most 15 more than are taken. Reading the length of each
  -- first would cost 10 % for a burst of tiny jobs.
  local bytes, taken, size, step, is_full = {}, 0, 0, 1, false
  while taken < #ids and not is_full do
    for _, data in ipairs(redis.call('HMGET', JOBS, unpack(ids, taken + 1, math.min(taken + step, #ids)))) do
      local text = tries[taken + 1]
      local is_suspect = text and string.sub(text, -4) ~= ' 0 0'
      size = size + (data and #data or 0)
      is_full = taken > 0 and (is_suspect or size > max_bytes)
      if is_full then break end
      taken = taken + 1
      bytes[taken] = data
      is_full = is_suspect
      if is_full then break end
    end
    step = math.min(2 * step, 16)
  end

  local newest = exact(math.max((tonumber(meta[5]) or 0) + 1, now * 1000))
  -- A long value makes the server keep the leases in a hash table. It would search a packed list for each of 500
  -- leases, now and when they finish: a fifth of its work in a burst.
  local token = (taken > MANY and PADDING or '') .. newest
  local stem = token .. ' ' .. owner .. ' '
  local till = exact(clock + lease_ms)
  local reply = {'OK', token, 0, wait}
  local leases, ends, memory, gone = {}, {}, {nonce, token}, {}
  for place = 1, taken do
    local id = ids[place]
    if bytes[place] then
      local how = #leases == 0 and first_how or 'H'
      leases[#leases + 1] = id
      leases[#leases + 1] = stem .. how .. ' ' .. first[2 * place]
      ends[#ends + 1] = till
      ends[#ends + 1] = id
      memory[#memory + 1] = id
      reply[#reply + 1] = id
      reply[#reply + 1] = bytes[place]
      reply[#reply + 1] = tries[place] or ''
    else
      gone[#gone + 1] = id
    end
  end
  if is_apart then
    redis.call('ZREM', READY, ids[1])
  else
    redis.call('ZREMRANGEBYRANK', READY, 0, taken - 1)
  end
  redis.call('HSET', META, 'token', newest, 'clock', exact(clock), 'wall', exact(now))
  if #gone > 0 then redis.call('HINCRBY', META, 'orphans', #gone) end
  if #leases > 0 then
    each_part('HSET', LEASES, leases)
    each_part('ZADD', LEASED, ends)
    redis.call('SET', claim_key, table.concat(memory, ' '), 'PX', 60000)
  end
  return reply, gone
end

local function with_left(reply) -- how many jobs are left
  local left = redis.call('ZCARD', READY)
  reply[3] = left
  if left > 0 and redis.call('EXISTS', BELL) == 0 then ring(1) end -- the wake-up is passed on, so none can be lost
  make_room(tonumber(meta[2]) or 0)
  return reply
end

-- The usual case: nothing is due or has expired, and the queue has nothing of what only some have.
local is_due, has_lapsed = due and tonumber(due) <= today, lapse and tonumber(lapse) <= clock
local is_special = redis.call('EXISTS', TRIES, TERMS, LIMITS, TURNS, ENDED, OUTBOX) > 0 -- with TERMS also UNLINKED
local may_rest, may_age = (tonumber(meta[8]) or 0) > now, (tonumber(meta[9]) or 0) > 0
if not (is_due or has_lapsed or is_special or may_rest or may_age) then
  if meta[3] then return nothing('PAUSED') end
  local first = redis.call('ZRANGE', READY, 0, want - 1, 'WITHSCORES')
  if #first > 0 then return with_left((lease(first, {}, soonest))) end
  if meta[4] and not due then return nothing('SHUT') end
  return nothing('EMPTY', soonest)
end

-- use: accept, terms, deliver, traces, settle, after, recover
if is_due then
  promote(now)
  due = redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2]
  soonest = math.min(60000, math.max(1, (tonumber(due) or today + 60000) - today))
end
if lapse then
  if has_lapsed then reap(clock, now) end
  soonest = math.min(soonest, math.max(1, tonumber(lapse) - clock))
end
is_special = redis.call('EXISTS', TRIES, TERMS, LIMITS, TURNS, ENDED, OUTBOX) > 0
local sign, whole = 1, nil
if is_special then
  catch_up()
  local turn = redis.call('ZRANGE', TURNS, 0, 0, 'WITHSCORES')[2]
  if redis.call('EXISTS', ENDED, UNLINKED) > 0 then soonest = 1 end
  if turn then soonest = math.min(soonest, math.max(1, tonumber(turn) - limit_time())) end
  if redis.call('EXISTS', OUTBOX) == 1 then
    sign, soonest = -1, math.min(soonest, 100)
  end
end
if meta[3] then return nothing('PAUSED', sign < 0 and -100 or 60000) end
if meta[8] and tonumber(meta[8]) > limit_time() then -- a task has asked for a rest
  return nothing('EMPTY', sign * math.min(soonest, tonumber(meta[8]) - limit_time()))
end
if is_special and redis.call('HEXISTS', LIMITS, '') == 1 then
  whole = limit_of('')
  if whole[RUNNING] > 0 then want = math.min(want, whole[RUNNING] - redis.call('ZCARD', LEASED)) end
  if whole[STARTS] > 0 then
    local free = whole[STARTS] - starts_within('', whole)
    if free <= 0 then
      local expiring = tonumber(redis.call('LINDEX', BASE .. 'starts:', free - 1))
      soonest = math.min(soonest, math.max(1, expiring + whole[PERIOD] - limit_time()))
    end
    want = math.min(want, free)
  end
  if want <= 0 then return nothing('EMPTY', sign * soonest) end
end

local first = redis.call('ZRANGE', READY, 0, want - 1, 'WITHSCORES')
if is_special and #first > 0 and redis.call('EXISTS', TURNS) == 1 then
  for round = 1, MAX_ROUNDS do
    if defer_resting(first) == 0 then break end
    soonest = 1 -- there may be others behind them
    first = round < MAX_ROUNDS and redis.call('ZRANGE', READY, 0, want - 1, 'WITHSCORES') or {}
  end
end
-- The first job of the priority of a random waiting one, so that each priority gets on by its share of what waits.
local function aged()
  local micros = tonumber(redis.call('TIME')[2])
  if micros % tonumber(meta[9]) > 0 then return end
  -- A large prime spreads the few values of these microseconds over all ranks.
  local rank = math.floor(micros / tonumber(meta[9])) * 104729 % redis.call('ZCARD', READY)
  local _, from, to = base_of(redis.call('ZRANGE', READY, rank, rank, 'WITHSCORES')[2])
  return redis.call('ZRANGE', READY, exact(from), exact(to), 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
end

local by_age = may_age and #first > 0 and aged()
if by_age and is_special and redis.call('EXISTS', TURNS) == 1 and defer_resting(by_age) > 0 then
  by_age, first = nil, redis.call('ZRANGE', READY, 0, want - 1, 'WITHSCORES')
end
if by_age then first = by_age end
if #first == 0 then
  if meta[4] and not due and redis.call('EXISTS', DEFERRED) == 0 then
    return nothing('SHUT', sign < 0 and -100 or 60000)
  end
  admit_next()
  return nothing('EMPTY', sign * soonest)
end
local tries, terms, has_terms, is_counting = {}, {}, false, false -- terms: by id
if is_special then
  local ids = {}
  for place = 1, #first, 2 do ids[#ids + 1] = first[place] end
  has_terms = redis.call('EXISTS', TERMS) == 1
  is_counting = has_terms and redis.call('HGET', META, 'counting')
  for place, text in ipairs(has_terms and redis.call('HMGET', TERMS, unpack(ids)) or {}) do
    terms[ids[place]] = text
    if text and (is_counting or has_more(text)) then want = MAX_WITH_TERMS end
  end
  while #ids > want do first[2 * #ids], first[2 * #ids - 1], ids[#ids] = nil, nil, nil end
  if redis.call('EXISTS', TRIES) == 1 then tries = redis.call('HMGET', TRIES, unpack(ids)) end
end
-- A job that came back often counts as started from the claim on, even before its consumer confirms the receipt.
if tries[1] and tonumber(string.match(tries[1], '^%d+ %d+ (%d+)')) >= LAPSE_BUDGET then first_how = 'S' end
local reply, gone = lease(first, tries, sign * soonest, by_age)
if is_special then
  if #gone > 0 then end_terms(gone, {}) end
  local leased = {}
  for place = 5, #reply, 3 do leased[#leased + 1] = reply[place] end
  if has_terms then take(leased, terms, is_counting) end
  if whole and #leased > 0 then note_starts('', whole, #leased) end
  admit_next()
end
return with_left(reply)
