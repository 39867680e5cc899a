#!lua
-- submit: gone -> ready, delayed or deferred. Jobs with terms (shared/terms.lua); otherwise as put.
-- use: wake, line, room, due, accept, terms, deliver, settle, after
-- ARGV  1 mode: check, again or new, as of put; 2 maxsize for a queue without one; 3 priority, or front and a priority
--       4 delay, ms, which begins once the jobs before have ended; 5 waiter; 6 how many more jobs the caller will send
--       7 packed max running, max starts, within ms, in order (1) of the limits, or empty
--       8 packed ms for which a unique key holds from its put (0: until the job is over, -1: until it starts), and 1 if
--         a waiting job is replaced; or empty
--       9.. id, bytes, packed terms of each job: l limit's key, u unique key, a the jobs before, p policy
-- reply OK, or FULL, as of put, and then of each job that another one stands for: id, id of the other
--       | DUP, id | SHUT, how many were accepted before | VERSION | GONE, id: a job before is unknown in this queue
-- Atomic because room, slots and unique keys must not be assigned twice.
local SAME_KEEP = 60000 -- ms; longer than any client sends a command again
local mode, bound, priority, delay = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local waiter, rest, FIRST = ARGV[5], tonumber(ARGV[6]), 9
local is_front = not priority
if is_front then priority = tonumber(string.sub(ARGV[3], #'front ' + 1)) end
local limit = ARGV[7] ~= '' and cmsgpack.unpack(ARGV[7])
local period, replaces = unpack(ARGV[8] ~= '' and cmsgpack.unpack(ARGV[8]) or {})
local count = (#ARGV - FIRST + 1) / 3
local meta = redis.call('HMGET', META, unpack(ACCEPT_META))
if is_foreign(meta[1]) then return {'VERSION'} end

local function outcome_of(id)
  return redis.call('GET', BASE .. 'outcome:' .. id)
end

-- Each job is known, or stood for by another one with its unique key, or new. All is checked before the first write.
local holders, replaced, same, known, known_count = {}, {}, {}, {}, 0
local jobs, terms = {}, {}
for place = FIRST, #ARGV, 3 do
  local id, bytes, own = ARGV[place], redis.call('HGET', JOBS, ARGV[place]), cmsgpack.unpack(ARGV[place + 2])
  local over = not bytes and outcome_of(id)
  if bytes and bytes ~= ARGV[place + 1] or over and mode == 'check' then return {'DUP', id} end
  local other = redis.call('GET', BASE .. 'same:' .. id)
  if own.u and not (bytes or over or other) then
    other = holders[own.u] or redis.call('GET', BASE .. 'unique:' .. own.u)
    if other and not holders[own.u] then
      local is_live = redis.call('HEXISTS', JOBS, other) == 1 and not redis.call('ZSCORE', DEAD, other)
      if not (is_live or period > 0) then other = nil end
    end
    holders[own.u] = other or id
  end
  if other then
    same[#same + 1] = id
    same[#same + 1] = other
    if replaces == 1 then replaced[other] = ARGV[place + 1] end
  end
  if bytes or over or other then
    known[id] = true
    known_count = known_count + 1
  end
  for _, before in ipairs(own.a or {}) do
    local queue, job = string.match(before, '^(%S+) (%S+)$')
    if queue == OWN and redis.call('HEXISTS', JOBS, job) == 0 and not outcome_of(job) and not known[id] then
      return {'GONE', job}
    end
  end
end
if meta[3] and (known_count < count or count == 0) then return {'SHUT', known_count} end

local function fitting(free)
  local fit = 0
  for place = FIRST, #ARGV, 3 do
    if not known[ARGV[place]] then
      if free == 0 then return fit end
      free = free - 1
    end
    fit = fit + 1
  end
  return fit + free
end

local room = room_for(count, rest, waiter, tonumber(meta[2]) or bound, fitting)
local taken = math.min(room, count)
for place = FIRST, FIRST + 3 * taken - 1, 3 do
  if not known[ARGV[place]] then
    jobs[#jobs + 1] = ARGV[place]
    jobs[#jobs + 1] = ARGV[place + 1]
    terms[#terms + 1] = cmsgpack.unpack(ARGV[place + 2])
  end
end

-- The caller's job stands in the place of a waiting one; if that is delayed, the delay begins again.
local function replace(id, bytes)
  local is_delayed = redis.call('ZSCORE', DELAYED, id)
  if not (is_delayed or redis.call('ZSCORE', READY, id) or redis.call('ZSCORE', DEFERRED, id)) then return end
  redis.call('HSET', JOBS, id, bytes)
  if is_delayed and delay > 0 then redis.call('ZADD', DELAYED, exact(due_clock(server_time()) + delay), id) end
end

-- Note that a new job comes after others. Returns those that have ended already, each with its outcome.
local function note_before(id, own)
  local over = {}
  for _, before in ipairs(own.a or {}) do
    local queue, job = string.match(before, '^(%S+) (%S+)$')
    local outcome = queue == OWN and outcome_of(job)
    redis.call('SADD', BASE .. 'after:' .. id, before)
    link(id, '< ' .. before)
    if queue == OWN then link(job, '> ' .. OWN .. ' ' .. id) end
    if queue ~= OWN then
      redis.call('XADD', OUTBOX, '*', 'verb', 'follow', 'queue', queue, 'id', job, 'from', OWN .. ' ' .. id,
        'outcome', string.sub(own.p, 2))
    elseif outcome then
      over[#over + 1] = {before, outcome}
    else
      redis.call('SADD', BASE .. 'followers:' .. job, OWN .. ' ' .. id .. ' ' .. string.sub(own.p, 2))
      redis.call('SADD', FOLLOWED, job)
    end
  end
  return over
end

local has_delay = delay > 0
local places = accept(jobs, 1, #jobs, priority, is_front, 0, meta)
if bound > 0 and not meta[2] then redis.call('HSET', META, 'maxsize', bound) end
for place, own in ipairs(terms) do
  local score, id = places[2 * place - 1], places[2 * place]
  if own.u then
    local key = BASE .. 'unique:' .. own.u
    if period > 0 then
      redis.call('SET', key, id, 'PX', period)
      own.uk = 1
    else
      redis.call('SET', key, id)
      if period < 0 then own.us = 1 end
    end
  end
  if own.l then
    local shared = limit_of(own.l)
    for part = RUNNING, ORDERED do shared[part] = limit[part] end
  end
  if own.a then
    if has_delay then own.d = delay end
    local ended_before = note_before(id, own)
    own.a = nil
    redis.call('HSET', TERMS, id, 'a' .. cmsgpack.pack(own))
    redis.call('ZADD', DEFERRED, score, id)
    for _, one in ipairs(ended_before) do go_on(id, one[1], state_of(one[2]), one[2]) end
  elseif has_delay then
    wait_until_due(id, '-' .. cmsgpack.pack(own), score, delay)
  else
    enter(id, '-' .. cmsgpack.pack(own), score)
  end
end
for id, bytes in pairs(replaced) do replace(id, bytes) end
for place = 1, #same, 2 do redis.call('SET', BASE .. 'same:' .. same[place], same[place + 1], 'PX', SAME_KEEP) end
conclude()
ring(#terms)
local reply = {room < count and 'FULL' or 'OK', room < count and room or taken, room < count and 0 or room - count,
  meta[5] or 0, tonumber(meta[4]) or 0, #terms}
if room >= count then leave_line(waiter, rest) end
for _, id in ipairs(same) do reply[#reply + 1] = id end
return reply
