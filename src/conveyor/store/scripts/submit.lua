#!lua
-- submit: gone -> ready, delayed or deferred. Jobs with terms (shared/terms.lua); otherwise as put.
-- use: wake, line, room, due, accept, terms, deliver, traces, settle, after
-- ARGV  1 mode: check, again or new, as of put; 2 maxsize for a queue without one; 3 priority, or front and a priority
--       4 delay, ms, which begins once the jobs before have ended; 5 waiter; 6 how many more jobs the caller will send
--       7 packed max running, max starts, within ms, in order (1) of the limits, or empty
--       8 packed ms for which a unique key holds from its put (0: until the job is over, -1: until it starts), and
--         whether a waiting job is replaced (1); or empty
--       9.. id, bytes, packed terms of each job; of these l limit's key, u unique key, a the first jobs before,
--       b further ones, up to 64 in a text with commas, p policy, h hooks (shared/terms.lua)
-- reply OK, or FULL, as of put, and then of each job that another one stands for: id, id of the other
--       | DUP, id | SHUT, how many were accepted before | VERSION
--       | GONE, id: a job before is unknown in this queue; when sent again, as after a loss of data, it counts as ended
-- Atomic because room, slots and unique keys must not be assigned twice.
local SAME_KEEP = 60000 -- ms; longer than any client sends a command again
local MAX_TOGETHER = 64 -- jobs before that are noted at once, for all jobs of one command
local mode, bound, priority, delay = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local waiter, rest, FIRST = ARGV[5], tonumber(ARGV[6]), 9
local is_front = not priority
if is_front then priority = tonumber(string.sub(ARGV[3], #'front ' + 1)) end
local limit = ARGV[7] ~= '' and cmsgpack.unpack(ARGV[7])
local period, replaces = unpack(ARGV[8] ~= '' and cmsgpack.unpack(ARGV[8]) or {})
local count = (#ARGV - FIRST + 1) / 3
local meta = redis.call('HMGET', META, unpack(ACCEPT_META))
if is_foreign(meta[1]) then return {'VERSION'} end

local function terms_of(id)
  local text = redis.call('HGET', TERMS, id)
  return text and read_terms(text) or {}, text
end

-- Does a job stand for further ones with its unique key?
local function is_standing(id)
  if redis.call('HEXISTS', JOBS, id) == 1 and not redis.call('ZSCORE', DEAD, id) then return true end
  local outcome = period > 0 and outcome_of(id)
  return period > 0 and not (outcome and state_of(outcome) == 'cancelled')
end

-- Each job is known, or stood for by another one with its unique key, or new. All is checked before the first write.
local holders, others, replaces_at, known, known_count, owns = {}, {}, {}, {}, 0, {}
local there = {} -- jobs before that are known: many jobs may come after the same ones
for place = FIRST, #ARGV, 3 do
  local id, bytes, own = ARGV[place], redis.call('HGET', JOBS, ARGV[place]), cmsgpack.unpack(ARGV[place + 2])
  owns[place] = own
  local over = not bytes and outcome_of(id)
  if over and mode == 'check' then return {'DUP', id} end
  if bytes and bytes ~= ARGV[place + 1] and (mode == 'check' or not terms_of(id).x) then return {'DUP', id} end
  local other = own.u and not (bytes or over) and redis.call('GET', BASE .. 'same:' .. id)
  if other and mode == 'check' and not is_standing(other) then other = nil end -- its own id may be used again
  if own.u and not (bytes or over or other) then
    other = holders[own.u] or redis.call('GET', BASE .. 'unique:' .. own.u)
    if other and not holders[own.u] and not is_standing(other) then other = nil end
    holders[own.u] = other or id
    replaces_at[place] = other and replaces == 1
  end
  others[place] = other
  if bytes or over or other then
    known[id] = true
    known_count = known_count + 1
  end
  for _, before in ipairs(own.a or {}) do
    local queue, job = string.match(before, '^(%S+) (%S+)$')
    there[before] = there[before] or known[id] or mode == 'again' or queue ~= OWN
      or redis.call('HEXISTS', JOBS, job) == 1 or outcome_of(job)
    if not there[before] then return {'GONE', job} end
  end
end
if meta[3] and (known_count < count or count == 0) then return {'SHUT', known_count} end

local room = room_for(count, rest, waiter, tonumber(meta[2]) or bound, known, FIRST, 3)
local taken = math.min(room, count)
local jobs, terms, same = {}, {}, {}
for place = FIRST, FIRST + 3 * taken - 1, 3 do
  if not known[ARGV[place]] then
    jobs[#jobs + 1] = ARGV[place]
    jobs[#jobs + 1] = ARGV[place + 1]
    terms[#terms + 1] = owns[place]
  end
end

-- The caller's job stands in the place of a waiting one; if that is delayed, the delay begins again. Not if one of the
-- two gets the results of others: these would be missing. Nor if its steps have kept something of its own arguments.
local function replace(id, bytes, own)
  if redis.call('HEXISTS', STEPS, id) == 1 then return end
  local is_delayed = redis.call('ZSCORE', DELAYED, id)
  if not (is_delayed or redis.call('ZSCORE', READY, id) or redis.call('ZSCORE', DEFERRED, id)) then return end
  local old, text = terms_of(id)
  if string.sub(old.p or '', 2) == 'i' or string.sub(own.p or '', 2) == 'i' then return end
  old.x = 1
  redis.call('HSET', TERMS, id, write_terms(string.sub(text or '-', 1, 1), old))
  redis.call('HSET', JOBS, id, bytes)
  if is_delayed and delay > 0 then redis.call('ZADD', DELAYED, exact(due_clock(server_time()) + delay), id) end
end

local has_delay, noted, followers = delay > 0, 0, {}
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
    for part = RUNNING, ORDERED do
      shared.freed = shared.freed or shared[part] > 0 and shared[part] ~= limit[part]
      shared[part] = limit[part]
    end
    own.m = limit
  end
  if own.a then
    if has_delay then own.d = delay end
    local earlier, further = own.a, own.b or {}
    own.a, own.b = nil, nil
    redis.call('HSET', TERMS, id, write_terms('a', own))
    redis.call('ZADD', DEFERRED, score, id)
    noted = noted + #earlier
    if noted > MAX_TOGETHER then table.insert(further, 1, table.concat(earlier, ',')) end
    if #further > 0 then
      each_part('RPUSH', BASE .. 'before:' .. id, further)
      redis.call('RPUSH', UNLINKED, id)
    end
    if noted <= MAX_TOGETHER then followers[#followers + 1] = {id, earlier, own.p} end
  elseif has_delay then
    wait_until_due(id, write_terms('-', own), score, delay)
  else
    enter(id, write_terms('-', own), score)
  end
end
note_before(followers)
for place = FIRST, FIRST + 3 * taken - 1, 3 do
  local id, other = ARGV[place], others[place]
  if other then
    same[#same + 1] = id
    same[#same + 1] = other
    redis.call('SET', BASE .. 'same:' .. id, other, 'PX', SAME_KEEP)
    if replaces_at[place] then replace(other, ARGV[place + 1], owns[place]) end
  end
end
conclude()
ring(#terms)
local reply = {room < count and 'FULL' or 'OK', room < count and room or taken, room < count and 0 or room - count,
  meta[5] or 0, tonumber(meta[4]) or 0, #terms}
if room >= count then leave_line(waiter, rest) end
for _, id in ipairs(same) do reply[#reply + 1] = id end
return reply
