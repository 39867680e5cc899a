-- The terms of a job: a limit that it shares with others of its key, a key of which it is the only job, and the jobs
-- that it comes after. A job with terms has them in `terms`: a letter, where it stands; + if there is more than a
-- limit, or a dot; the limit's key or nothing; a line feed; and packed:
--   m the limit as it was put, u unique key, us: that ends when it starts, uk: it holds for a time,
--   p policy (shared/after.lua), d delay, ms, x: another put has replaced its bytes
--   h hooks: jobs that are put when it ends, each as policy, queue, id, bytes, priority, own terms: of these l, m and d
-- So claims and ends of jobs that only have a limit unpack nothing.
-- The letters: - has no slot of its limit; r has one; t has one, and is taken; k keeps it while delayed;
--   b is behind others of its key, and a comes after other jobs: both deferred.
-- Most limits need not know if a slot is of a ready job or of a taken one. Once a queue had one that does, `counting`
-- is set in meta, and its claims note that. A taken job has no slot of a limit without max running.
-- A limit is {max running, max starts, within ms, in order, ready, taken, rests until}, in `limits` under its key; that
-- of the whole queue is under the empty key. A key without a job that is ready, taken or in its lane has none: its next
-- job brings it. A job is ready only with a slot, so a claim never meets one that may not run, and looks for nothing.
local OWN = string.sub(BASE, 11, -3) -- the name of this queue
local QUANTUM = 16 -- jobs of one key that are ready: more would be in front of those of other keys
local RUNNING, STARTS, PERIOD, ORDERED, READY_SLOTS, TAKEN_SLOTS, REST = 1, 2, 3, 4, 5, 6, 7
local LIMIT = '>I4I4dI1I4I4d' -- how a limit is packed
local MORE, NOTHING = string.byte('+'), {}
-- By key, the limits that this script has read; `freed` if jobs in its lane may become ready. And the time of limits.
local limits, due_now = {}, nil

local function limit_time()
  due_now = due_now or due_clock(server_time())
  return due_now
end

local function key_of(text) -- of the limit; nil without one
  return string.match(text, '^..([^\n]+)\n')
end

local function read_terms(text)
  local terms = cmsgpack.unpack(string.sub(text, string.find(text, '\n', 3, true) + 1))
  terms.l = key_of(text)
  return terms
end

local function has_more(text) -- than a limit
  return string.byte(text, 2) == MORE
end

local function more_of(text)
  return has_more(text) and read_terms(text) or NOTHING
end

local function write_terms(letter, terms)
  local key, limit = terms.l, terms.m
  terms.l, terms.m = nil, nil
  local more = next(terms) and '+' or '.'
  terms.m = limit
  local text = letter .. more .. (key or '') .. '\n' .. cmsgpack.pack(terms)
  terms.l = key
  return text
end

local function read_limit(packed)
  local running, starts, period, ordered, ready, taken, rest = struct.unpack(LIMIT, packed)
  return {running, starts, period, ordered, ready, taken, rest}
end

local function write_limit(limit)
  return struct.pack(LIMIT, unpack(limit))
end

-- Read a limit; text: the terms of a job that was put with it, in case there is no other.
local function note_limit(key, packed, text)
  local limit = packed and read_limit(packed)
  if not limit then
    local own = text and read_terms(text).m or NOTHING
    limit = {own[1] or 0, own[2] or 0, own[3] or 0, own[4] or 0, 0, 0, 0}
  end
  limits[key] = limit
  return limit
end

local function limit_of(key, text)
  return limits[key] or note_limit(key, redis.call('HGET', LIMITS, key), text)
end

local function read_limits(texts, count) -- those of jobs, by their terms as text; returns the key of each
  local keys, new, of = {}, {}, {}
  for place = 1, count do
    local text = texts[place]
    local key = text and key_of(text)
    keys[place] = key
    if key and not limits[key] and not of[key] then
      of[key] = text
      new[#new + 1] = key
    end
  end
  if #new == 0 then return keys end
  for place, packed in ipairs(redis.call('HMGET', LIMITS, unpack(new))) do
    note_limit(new[place], packed, of[new[place]])
  end
  return keys
end

local function lane_of(key) -- the deferred jobs of a key, in order
  return BASE .. 'lane:' .. key
end

local function starts_within(key, limit) -- how many of its jobs started within the period
  local MAX_EXPIRED = 64
  local list, first = BASE .. 'starts:' .. key, limit_time() - limit[PERIOD]
  for _ = 1, MAX_EXPIRED do
    local oldest = tonumber(redis.call('LINDEX', list, -1))
    if not oldest or oldest > first then break end
    redis.call('RPOP', list)
  end
  return redis.call('LLEN', list)
end

local function note_starts(key, limit, count)
  if limit[STARTS] == 0 then return end
  local list, times = BASE .. 'starts:' .. key, {}
  for place = 1, count do times[place] = exact(limit_time()) end
  each_part('LPUSH', list, times)
  redis.call('PEXPIRE', list, limit[PERIOD] + 60000)
end

-- How many jobs of a key may become ready; and when the next one may, if only time decides. A ready job has its start
-- reserved, so starts and ready jobs together are limited.
local function free_slots(key, limit)
  local free = QUANTUM - limit[READY_SLOTS]
  if limit[REST] > 0 and limit[REST] > limit_time() then return 0, limit[REST] end
  if limit[RUNNING] > 0 then free = math.min(free, limit[RUNNING] - limit[READY_SLOTS] - limit[TAKEN_SLOTS]) end
  if limit[STARTS] == 0 or free <= 0 then return free end
  local used = starts_within(key, limit) + limit[READY_SLOTS]
  local until_when
  if used >= limit[STARTS] and limit[READY_SLOTS] < limit[STARTS] then
    local expiring = redis.call('LINDEX', BASE .. 'starts:' .. key, limit[STARTS] - used - 1)
    until_when = tonumber(expiring) + limit[PERIOD]
  end
  return math.min(free, limit[STARTS] - used), until_when
end

-- A job with terms becomes ready at its place, or deferred in its lane: behind others, unless it has had a slot and one
-- is free.
local function enter(id, text, place, has_had)
  local key, letter = key_of(text), '-'
  if not key then
    redis.call('ZADD', READY, place, id)
  else
    local limit, lane = limit_of(key, text), lane_of(key)
    local is_free = free_slots(key, limit) > 0
    if is_free and (has_had or redis.call('EXISTS', lane) == 0) then
      limit[READY_SLOTS] = limit[READY_SLOTS] + 1
      redis.call('ZADD', READY, place, id)
      letter = 'r'
    else
      limit.freed = limit.freed or is_free
      redis.call('ZADD', lane, place, id)
      redis.call('ZADD', DEFERRED, place, id)
      letter = 'b'
    end
  end
  redis.call('HSET', TERMS, id, letter .. string.sub(text, 2))
end

-- A job with terms leaves its slot, or its lane; but not the index that it is in.
local function leave(id, text, key)
  local letter = string.sub(text, 1, 1)
  if letter == 'r' or letter == 't' or letter == 'k' then
    local limit, slots = limit_of(key, text), letter == 'r' and READY_SLOTS or TAKEN_SLOTS
    limit[slots] = math.max(0, limit[slots] - 1)
    limit.freed = true
  elseif letter == 'b' then
    redis.call('ZREM', lane_of(key), id)
    limit_of(key, text).freed = true
  end
end

-- A job that waits again has its unique key again, unless another one has it by now.
local function hold_key(id, terms)
  if terms.us then redis.call('SET', BASE .. 'unique:' .. terms.u, id, 'NX') end
end

-- A place in front of the deferred jobs of a key, if they are of the same priority or run in order; or else the old
-- one.
local function place_in_front(key, limit, place)
  local first = redis.call('ZRANGE', lane_of(key), 0, 0, 'WITHSCORES')[2]
  if not first or limit[ORDERED] == 0 and base_of(first) ~= base_of(place) then return place end
  return exact(math.min(tonumber(place), tonumber(first) - 1))
end

-- Of ready jobs (id, place, …), those whose limit has begun to rest are deferred again. Returns how many.
local function defer_resting(first)
  local ids, deferred = {}, 0
  for place = 1, #first, 2 do ids[#ids + 1] = first[place] end
  if #ids == 0 then return 0 end
  for place, text in ipairs(redis.call('HMGET', TERMS, unpack(ids))) do
    local key = text and key_of(text)
    if key and limit_of(key)[REST] > limit_time() then
      leave(ids[place], text, key)
      redis.call('ZREM', READY, ids[place])
      redis.call('ZADD', lane_of(key), first[2 * place], ids[place])
      redis.call('ZADD', DEFERRED, first[2 * place], ids[place])
      redis.call('HSET', TERMS, ids[place], 'b' .. string.sub(text, 2))
      deferred = deferred + 1
    end
  end
  return deferred
end

-- A taken job becomes ready again, at its old place; that of a job with a limit is behind those of its key that were
-- ready before, but in front of the deferred ones. Its start counts: after a crash, nobody knows if there was one.
local function put_back(id, place)
  local text = redis.call('HGET', TERMS, id)
  if not text then
    redis.call('ZADD', READY, place, id)
    return
  end
  local key = key_of(text)
  leave(id, text, key)
  hold_key(id, more_of(text))
  if key then
    local limit = limit_of(key, text)
    if free_slots(key, limit) > 0 then
      limit[READY_SLOTS] = limit[READY_SLOTS] + 1
      redis.call('ZADD', READY, place, id)
      redis.call('HSET', TERMS, id, 'r' .. string.sub(text, 2))
      return
    end
    place = place_in_front(key, limit, place)
  end
  enter(id, '-' .. string.sub(text, 2), place)
end

-- A new job with terms has to wait until its delay (ms) is over.
local function wait_until_due(id, text, place, delay)
  local priority = 255 - base_of(place) / LEVEL
  if priority > 0 then redis.call('HSET', PRIORITIES, id, priority) end
  redis.call('ZADD', DELAYED, exact(limit_time() + delay), id)
  redis.call('HSET', TERMS, id, '-' .. string.sub(text, 2))
end

-- A taken job is retried later: it keeps its slot if those of its key run in order.
local function rest_until_due(id)
  local text = redis.call('HGET', TERMS, id)
  if not text then return end
  local key, letter = key_of(text), '-'
  hold_key(id, more_of(text))
  leave(id, text, key)
  local limit = key and limit_of(key, text)
  if limit and limit[ORDERED] == 1 then
    letter = 'k'
    limit[TAKEN_SLOTS] = limit[TAKEN_SLOTS] + 1
  end
  redis.call('HSET', TERMS, id, letter .. string.sub(text, 2))
end

-- A delayed job with terms is due. One that has kept its slot is in front of the deferred ones.
local function come_due(id, text, place)
  local is_kept = string.sub(text, 1, 1) == 'k'
  if is_kept then
    local key = key_of(text)
    leave(id, text, key)
    if free_slots(key, limit_of(key, text)) <= 0 then place = place_in_front(key, limit_of(key, text), place) end
  end
  enter(id, text, place, is_kept)
end

local function free_key(id, terms)
  local key = BASE .. 'unique:' .. terms.u
  if redis.call('GET', key) == id then redis.call('DEL', key) end
end

-- Ready jobs are taken: each keeps its slot, as that of a taken one if the claims of the queue count.
-- terms: by id, as text
local function take(ids, terms, is_counting)
  local texts, changed, started = {}, {}, {}
  for place, id in ipairs(ids) do texts[place] = terms[id] end
  local keys = is_counting and read_limits(texts, #ids) or {}
  for place, id in ipairs(ids) do
    local text, key = texts[place], keys[place]
    if text then
      local more = more_of(text)
      if more.us then free_key(id, more) end
      if key and string.sub(text, 1, 1) == 'r' then
        local limit = limits[key]
        limit.freed = limit.freed or limit[READY_SLOTS] >= QUANTUM
        limit[READY_SLOTS] = math.max(0, limit[READY_SLOTS] - 1)
        local letter = '-'
        if limit[RUNNING] > 0 then
          letter, limit[TAKEN_SLOTS] = 't', limit[TAKEN_SLOTS] + 1
        end
        started[key] = (started[key] or 0) + 1
        changed[#changed + 1] = id
        changed[#changed + 1] = letter .. string.sub(text, 2)
      end
    end
  end
  if #changed > 0 then redis.call('HSET', TERMS, unpack(changed)) end
  for key, count in pairs(started) do note_starts(key, limits[key], count) end
end

local function state_of(outcome) -- done, failed, cancelled, lost or gone
  return string.sub(outcome, 3, 2 + string.byte(outcome, 2) - 0xa0)
end

local function fits(policy, state)
  if policy == 'd' then return state == 'done' end
  if policy == 'f' then return state == 'failed' or state == 'lost' end
  return true
end

-- The outcomes that a job gets, its inputs, are in `inputs:<id>`, each under the queue and id of its job. One of more
-- than SHARED_FROM bytes is kept once for all jobs of this queue that get it: in `shared:<queue> <id>`, with the count
-- of these jobs, of which the last to end removes it. They have its name under the empty field, among MAX_SHARED at
-- most, so that their end is little work: further outcomes are copied, as is one that differs from the shared one.
local SHARED_FROM, MAX_SHARED = 1024, 64
local shared = {} -- by queue and id, the outcomes that this script has found or put there

local function give_input(id, from, outcome) -- from: queue and id of the job that has this outcome
  local inputs, key = BASE .. 'inputs:' .. id, BASE .. 'shared:' .. from
  local names = #outcome > SHARED_FROM and (redis.call('HGET', inputs, '') or '')
  if names and select(2, string.gsub(names, ',', '')) < MAX_SHARED then
    shared[from] = shared[from] or redis.call('HGET', key, 'outcome')
    if not shared[from] then
      redis.call('HSET', key, 'outcome', outcome)
      shared[from] = outcome
    end
    if shared[from] == outcome then
      redis.call('HINCRBY', key, 'jobs', 1)
      redis.call('HSET', inputs, '', names .. from .. ',')
      return
    end
  end
  redis.call('HSET', inputs, from, outcome)
end

local function drop_inputs(ids) -- of jobs that are over
  local names = {}
  for _, id in ipairs(ids) do
    local inputs = BASE .. 'inputs:' .. id
    local text = redis.call('HGET', inputs, '') or ''
    for from in string.gmatch(text, '[^,]+') do names[from] = (names[from] or 0) + 1 end
    redis.call('UNLINK', inputs)
  end
  for from, count in pairs(names) do
    if redis.call('HINCRBY', BASE .. 'shared:' .. from, 'jobs', -count) <= 0 then
      redis.call('UNLINK', BASE .. 'shared:' .. from)
      shared[from] = nil
    end
  end
end

local function send(verb, queue, id, from, text) -- a message to another queue; the same one is sent once
  redis.call('ZADD', OUTBOX, exact(limit_time()), table.concat({verb, queue, id, from, text}, ' '))
end

-- Put a hook, which gets how a job has ended as its input: that job, as queue and id, and its outcome. It finds room,
-- even in a full queue, since the end of a job does not wait.
local function put_hook(id, bytes, priority, own, from, outcome)
  local meta = redis.call('HMGET', META, unpack(ACCEPT_META))
  local place = accept({id, bytes}, 1, 2, priority, false, 0, meta)[1]
  own.p = 'ei'
  local text = write_terms('-', own)
  give_input(id, from, outcome)
  if own.d then wait_until_due(id, text, place, own.d) else enter(id, text, place) end
  ring(1)
end

-- Put the hooks of a job that has ended, those whose policy fits: here, or by a message to their queue. Each end of the
-- job has hooks of its own, since one that is revived may end again: the sequence has grown by then.
local function put_hooks(hooks, id, outcome)
  local state, from, sequence = state_of(outcome), OWN .. ' ' .. id, redis.call('HGET', META, 'sequence') or '0'
  for _, one in ipairs(hooks) do
    local policy, queue, hook, bytes, priority, own = unpack(one)
    hook = hook .. '.' .. sequence
    if fits(policy, state) and queue == OWN then
      put_hook(hook, bytes, priority, own, from, outcome)
    elseif fits(policy, state) then
      send('hook', queue, hook, from, cmsgpack.pack({bytes, priority, own, outcome}))
      ring(1)
    end
  end
end

-- Jobs are over, or dead: their slots and unique keys are free, and their hooks are put. keeps: they may be revived.
local function end_terms(ids, outcomes, keeps)
  local texts, over, kept = redis.call('HMGET', TERMS, unpack(ids)), {}, {}
  local after = {} -- those of them that came after others
  local keys = read_limits(texts, #ids)
  for place, id in ipairs(ids) do
    local text = texts[place]
    if text then
      local terms = more_of(text)
      leave(id, text, keys[place])
      if terms.u and not terms.uk then free_key(id, terms) end
      if terms.h and outcomes[place] then put_hooks(terms.h, id, outcomes[place]) end
      if keeps then
        kept[#kept + 1] = id
        kept[#kept + 1] = '-' .. string.sub(text, 2)
      else
        over[#over + 1] = id
        if terms.p then
          redis.call('UNLINK', BASE .. 'after:' .. id, BASE .. 'before:' .. id)
          after[#after + 1] = id
        end
      end
    end
  end
  each_part('HSET', TERMS, kept)
  each_part('HDEL', TERMS, over)
  drop_inputs(after)
end

-- Deferred jobs (id, place, …), which are in no lane any more, become ready, each behind all that are ready by now: so
-- no key can keep the others waiting.
local function make_ready(next_ones)
  local count, ids, places, letters = #next_ones / 2, {}, {}, {}
  local last = redis.call('HINCRBY', META, 'sequence', count)
  for place = 1, count do
    ids[place] = next_ones[2 * place - 1]
    places[2 * place - 1] = exact(base_of(next_ones[2 * place]) + last - count + place)
    places[2 * place] = ids[place]
  end
  for place, text in ipairs(redis.call('HMGET', TERMS, unpack(ids))) do
    if text then -- otherwise nothing would ever free its slot
      local limit = limits[key_of(text)]
      limit[READY_SLOTS] = limit[READY_SLOTS] + 1
      letters[#letters + 1] = ids[place]
      letters[#letters + 1] = 'r' .. string.sub(text, 2)
    end
  end
  each_part('ZREM', DEFERRED, ids)
  each_part('ZADD', READY, places)
  each_part('HSET', TERMS, letters)
  ring(count)
end

-- The next jobs of the keys that have free slots become ready, and the limits that this script has changed are written.
-- Returns how many jobs became ready.
local function admit_next()
  local next_ones, changed, over, counts = {}, {}, {}, false
  for key, limit in pairs(limits) do
    limit.has_turn = limit[STARTS] > 0 or limit[REST] > 0 -- time may have freed slots as well
    if limit.has_turn and not limit.freed and limit[REST] == 0 and redis.call('EXISTS', lane_of(key)) == 0 then
      limit.is_last, limit.has_turn = true, false
    end
    local free = key ~= '' and (limit.freed or limit.has_turn) and free_slots(key, limit) or 0
    if free > 0 then
      local found = redis.call('ZPOPMIN', lane_of(key), free)
      limit.is_last = #found < 2 * free
      for _, part in ipairs(found) do next_ones[#next_ones + 1] = part end
    end
  end
  if #next_ones > 0 then make_ready(next_ones) end
  for key, limit in pairs(limits) do
    if key ~= '' then
      local is_unused = limit[READY_SLOTS] + limit[TAKEN_SLOTS] == 0
        and (limit[REST] == 0 or limit[REST] <= limit_time())
      local is_empty = limit.is_last
        or (is_unused or limit.has_turn) and redis.call('EXISTS', lane_of(key)) == 0
      if is_empty and is_unused then
        over[#over + 1] = key
      else
        changed[#changed + 1] = key
        changed[#changed + 1] = write_limit(limit)
        counts = counts or limit[STARTS] > 0 or limit[RUNNING] == 0 or limit[RUNNING] > QUANTUM
      end
      if limit.has_turn then
        local _, next_at = free_slots(key, limit)
        if next_at and not (is_empty and limit[REST] <= limit_time()) then
          redis.call('ZADD', TURNS, exact(next_at), key)
        else
          redis.call('ZREM', TURNS, key)
        end
      end
    end
  end
  each_part('HSET', LIMITS, changed)
  each_part('HDEL', LIMITS, over)
  if counts then redis.call('HSET', META, 'counting', 1) end
  limits = {}
  return #next_ones / 2
end
