-- The terms of a job: a limit that it shares with others of its key, a key of which it is the only job, and the jobs
-- that it comes after. A job with terms has them in `terms`, as one letter, where it stands, and then packed:
--   l limit's key, m the limit as it was put, u unique key, us: that ends when it starts, uk: it holds for a time,
--   p policy (shared/after.lua), d delay, ms, x: another put has replaced its bytes
--   h hooks: jobs that are put when it ends, each as policy, queue, id, bytes, priority, own terms: of these l, m and d
-- The letters: - has no slot of its limit; r has one, and is ready; t has one, and is taken; k keeps it while delayed;
--   b is behind others of its key, and a comes after other jobs: both deferred.
-- A limit is {max running, max starts, within ms, in order, ready, taken, rests until}, in `limits` under its key; that
-- of the whole queue is under the empty key. A key without a job that is ready, taken or in its lane has none: its next
-- job brings it. A job is ready only with a slot, so a claim never meets one that may not run, and looks for nothing.
local OWN = string.sub(BASE, 11, -3) -- the name of this queue
local QUANTUM = 16 -- jobs of one key that are ready: more would be in front of those of other keys
local RUNNING, STARTS, PERIOD, ORDERED, READY_SLOTS, TAKEN_SLOTS, REST = 1, 2, 3, 4, 5, 6, 7
local limits, due_now = {}, nil -- by key, those that this script has read; the time of limits

local function limit_time()
  due_now = due_now or due_clock(server_time())
  return due_now
end

local function limit_of(key, own) -- own: the limit that a job was put with, if there is no other
  local limit = limits[key]
  if not limit then
    local text = redis.call('HGET', LIMITS, key)
    own = own or {}
    limit = text and cmsgpack.unpack(text) or {own[1] or 0, own[2] or 0, own[3] or 0, own[4] or 0, 0, 0, 0}
    limits[key] = limit
  end
  return limit
end

local function read_terms(text)
  return #text > 1 and cmsgpack.unpack(string.sub(text, 2)) or {}
end

-- Read the limits of jobs at once, by their terms as text. Returns these terms, read; nil for a job without any.
local function read_all(texts, count)
  local all, keys, own = {}, {}, {}
  for place = 1, count do
    if texts[place] then
      local terms = read_terms(texts[place])
      all[place] = terms
      if terms.l and not limits[terms.l] and not own[terms.l] then
        own[terms.l] = terms.m or {}
        keys[#keys + 1] = terms.l
      end
    end
  end
  if #keys > 0 then
    for place, text in ipairs(redis.call('HMGET', LIMITS, unpack(keys))) do
      local new = own[keys[place]]
      limits[keys[place]] = text and cmsgpack.unpack(text)
        or {new[1] or 0, new[2] or 0, new[3] or 0, new[4] or 0, 0, 0, 0}
    end
  end
  return all
end

local function lane_of(key) -- the deferred jobs of a key, in order
  return BASE .. 'lane:' .. key
end

local function starts_within(key, limit) -- how many of its jobs started within the period
  local list, first = BASE .. 'starts:' .. key, limit_time() - limit[PERIOD]
  for _ = 1, 64 do -- at most
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
  if limit[REST] > limit_time() then return 0, limit[REST] end
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
  local terms = read_terms(text)
  local key, letter = terms.l, '-'
  if not key then
    redis.call('ZADD', READY, place, id)
  else
    local limit, lane = limit_of(key, terms.m), lane_of(key)
    if free_slots(key, limit) > 0 and (has_had or redis.call('EXISTS', lane) == 0) then
      limit[READY_SLOTS] = limit[READY_SLOTS] + 1
      redis.call('ZADD', READY, place, id)
      letter = 'r'
    else
      redis.call('ZADD', lane, place, id)
      redis.call('ZADD', DEFERRED, place, id)
      letter = 'b'
    end
  end
  redis.call('HSET', TERMS, id, letter .. string.sub(text, 2))
end

-- A job with terms leaves its slot, or its lane; but not the index that it is in. Returns its terms.
local function leave(id, text)
  local letter, terms = string.sub(text, 1, 1), read_terms(text)
  if letter == 'r' or letter == 't' or letter == 'k' then
    local limit, slots = limit_of(terms.l, terms.m), letter == 'r' and READY_SLOTS or TAKEN_SLOTS
    limit[slots] = math.max(0, limit[slots] - 1)
  elseif letter == 'b' then
    redis.call('ZREM', lane_of(terms.l), id)
    limit_of(terms.l, terms.m)
  end
  return terms
end

-- A job that waits again has its unique key again, unless another one has it by now.
local function hold_key(id, terms)
  if terms.us then redis.call('SET', BASE .. 'unique:' .. terms.u, id, 'NX') end
end

-- Of ready jobs (id, place, …), those whose limit has begun to rest are deferred again. Returns how many.
local function defer_resting(first)
  local ids, deferred = {}, 0
  for place = 1, #first, 2 do ids[#ids + 1] = first[place] end
  if #ids == 0 then return 0 end
  for place, text in ipairs(redis.call('HMGET', TERMS, unpack(ids))) do
    local key = text and read_terms(text).l
    if key and limit_of(key)[REST] > limit_time() then
      leave(ids[place], text)
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
  local terms = leave(id, text)
  local key = terms.l
  hold_key(id, terms)
  if key then
    if free_slots(key, limits[key]) > 0 then
      limits[key][READY_SLOTS] = limits[key][READY_SLOTS] + 1
      redis.call('ZADD', READY, place, id)
      redis.call('HSET', TERMS, id, 'r' .. string.sub(text, 2))
      return
    end
    local first = redis.call('ZRANGE', lane_of(key), 0, 0, 'WITHSCORES')[2]
    if first and (limits[key][ORDERED] == 1 or base_of(first) == base_of(place)) then
      place = exact(math.min(tonumber(place), tonumber(first) - 1))
    end
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
  local terms = read_terms(text)
  local letter = '-'
  hold_key(id, terms)
  if terms.l and limit_of(terms.l, terms.m)[ORDERED] == 1 then letter = 'k' else leave(id, text) end
  redis.call('HSET', TERMS, id, letter .. string.sub(text, 2))
end

-- A delayed job with terms is due. One that has kept its slot is in front of the deferred ones.
local function come_due(id, text, place)
  local is_kept = string.sub(text, 1, 1) == 'k'
  if is_kept then leave(id, text) end
  enter(id, text, place, is_kept)
end

local function free_key(id, terms)
  local key = BASE .. 'unique:' .. terms.u
  if redis.call('GET', key) == id then redis.call('DEL', key) end
end

-- Ready jobs are taken: each keeps its slot as a running one.
local function take(ids)
  local texts, changed, started = redis.call('HMGET', TERMS, unpack(ids)), {}, {}
  local all = read_all(texts, #ids)
  for place, id in ipairs(ids) do
    local text, terms = texts[place], all[place]
    if text then
      if terms.us then free_key(id, terms) end
      if terms.l then
        local limit = limit_of(terms.l, terms.m)
        limit[READY_SLOTS] = math.max(0, limit[READY_SLOTS] - 1)
        limit[TAKEN_SLOTS] = limit[TAKEN_SLOTS] + 1
        started[terms.l] = (started[terms.l] or 0) + 1
        changed[#changed + 1] = id
        changed[#changed + 1] = 't' .. string.sub(text, 2)
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

local function send(verb, queue, id, from, text) -- a message to another queue; the same one is sent once
  redis.call('ZADD', OUTBOX, exact(limit_time()), table.concat({verb, queue, id, from, text}, ' '))
end

-- Put a hook, which gets how a job has ended as its input: that job, as queue and id, and its outcome. It finds room,
-- even in a full queue, since the end of a job does not wait.
local function put_hook(id, bytes, priority, own, from, outcome)
  local meta = redis.call('HMGET', META, unpack(ACCEPT_META))
  local place, text = accept({id, bytes}, 1, 2, priority, false, 0, meta)[1], '-' .. cmsgpack.pack(own)
  redis.call('HSET', BASE .. 'inputs:' .. id, from, outcome)
  if own.d then wait_until_due(id, text, place, own.d) else enter(id, text, place) end
  ring(1)
end

-- Put the hooks of a job that has ended, those whose policy fits: here, or by a message to their queue. Each end of the
-- job has hooks of its own, since one that is revived may end again: the sequence has grown by then.
local function put_hooks(hooks, id, outcome)
  local state, from, sequence = state_of(outcome), OWN .. ' ' .. id, redis.call('HGET', META, 'sequence')
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
  local texts = redis.call('HMGET', TERMS, unpack(ids))
  read_all(texts, #ids)
  for place, id in ipairs(ids) do
    if texts[place] then
      local terms = leave(id, texts[place])
      if terms.u and not terms.uk then free_key(id, terms) end
      if terms.h and outcomes[place] then put_hooks(terms.h, id, outcomes[place]) end
      if keeps then
        redis.call('HSET', TERMS, id, '-' .. string.sub(texts[place], 2))
      else
        redis.call('HDEL', TERMS, id)
        redis.call('UNLINK', BASE .. 'after:' .. id, BASE .. 'before:' .. id, BASE .. 'inputs:' .. id)
      end
    end
  end
end

-- The limits that this script has changed are written, and the next jobs of their keys become ready. Each comes behind
-- all that are ready by now, so that no key can keep the others waiting.
local function admit_next()
  local admitted, changed, over = 0, {}, {}
  for key, limit in pairs(limits) do
    local lane = lane_of(key)
    local free = key ~= '' and free_slots(key, limit) or 0
    local next_ones = free > 0 and redis.call('ZPOPMIN', lane, free) or {}
    if #next_ones > 0 then
      local count, ids, places, letters, counted = #next_ones / 2, {}, {}, {}, 0
      local last = redis.call('HINCRBY', META, 'sequence', count)
      for place = 1, count do
        local id = next_ones[2 * place - 1]
        ids[place] = id
        places[2 * place - 1] = exact(base_of(next_ones[2 * place]) + last - count + place)
        places[2 * place] = id
      end
      for place, text in ipairs(redis.call('HMGET', TERMS, unpack(ids))) do
        if text then -- otherwise nothing would ever free its slot
          counted = counted + 1
          letters[2 * counted - 1], letters[2 * counted] = ids[place], 'r' .. string.sub(text, 2)
        end
      end
      redis.call('ZREM', DEFERRED, unpack(ids))
      redis.call('ZADD', READY, unpack(places))
      if counted > 0 then redis.call('HSET', TERMS, unpack(letters)) end
      limit[READY_SLOTS] = limit[READY_SLOTS] + counted
      admitted = admitted + count
    end
    if key ~= '' then
      local is_empty = redis.call('EXISTS', lane) == 0
      if is_empty and limit[READY_SLOTS] + limit[TAKEN_SLOTS] == 0 and limit[REST] <= limit_time() then
        over[#over + 1] = key
      else
        changed[#changed + 1] = key
        changed[#changed + 1] = cmsgpack.pack(limit)
      end
      if limit[STARTS] > 0 or limit[REST] > 0 then
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
  limits = {}
  if admitted > 0 then ring(admitted) end
  return admitted
end
