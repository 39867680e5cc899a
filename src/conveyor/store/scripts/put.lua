#!lua
-- put: (new) -> ready or delayed. A counted prefix of the jobs, as many as there is room for.
-- use: wake
-- ARGV  1 mode: new, or check (look first whether the ids are known: own ids, or a command sent again)
--       2 maxsize to set, 0 leaves it; 3 priority; 4 delay, ms; 5 waiter: who waits for room, empty if nobody does
--       6.. id, bytes of each job
-- gives OK, accepted, waiting | FULL, accepted, waiting | DUP, id | SHUT | VERSION
-- Atomic because room must not be given twice. Refused by a server that is out of memory (no allow-oom).
local mode, bound, priority, delay, waiter = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local FIRST = 6
local count = (#ARGV - FIRST + 1) / 2
local meta = redis.call('HMGET', META, 'version', 'maxsize', 'shutdown', 'sequence')
if meta[1] and meta[1] ~= PROTOCOL then return {'VERSION'} end
if meta[3] then return {'SHUT'} end

local known, known_count = {}, 0
if mode == 'check' then
  for place = FIRST, #ARGV, 2 do
    local id = ARGV[place]
    local bytes = redis.call('HGET', JOBS, id)
    if bytes and bytes ~= ARGV[place + 1] then return {'DUP', id} end
    if bytes then
      known[id] = true
      known_count = known_count + 1
    end
    if not bytes and redis.call('EXISTS', BASE .. 'outcome:' .. id) == 1 then return {'DUP', id} end
  end
end

local maxsize = bound > 0 and bound or tonumber(meta[2]) or 0
local waiting = redis.call('ZCARD', READY) + redis.call('ZCARD', DELAYED)
local room = count
if maxsize > 0 then
  local ahead = 0
  local now = server_time()
  if redis.call('EXISTS', LINE) == 1 then -- producers who died while they waited hold nobody up for longer than 5 s
    for _, other in ipairs(redis.call('ZRANGE', LINE, 0, 15)) do
      local seen = tonumber(redis.call('HGET', SEEN, other) or 0)
      if other ~= waiter and now - seen > 5000 then
        redis.call('ZREM', LINE, other)
        redis.call('HDEL', SEEN, other)
      end
    end
    ahead = waiter ~= '' and redis.call('ZRANK', LINE, waiter) or redis.call('ZCARD', LINE)
  end
  room = math.min(count, known_count + math.max(0, maxsize - waiting - ahead)) -- known ones come first, and are in
  if room < count and waiter ~= '' then
    redis.call('ZADD', LINE, 'NX', meta[4] or 0, waiter)
    redis.call('HSET', SEEN, waiter, now)
  end
end

local sequence = tonumber(meta[4]) or 0
local last = FIRST + 2 * room - 1
local fresh = room
if room > 0 then
  local index, places = READY, {}
  local score, step = (255 - priority) * LEVEL + sequence + 1, 1
  if delay > 0 then
    index, score, step = DELAYED, server_time() + delay, 0
  end
  for place = FIRST, last, 2 do
    if known[ARGV[place]] then
      fresh = fresh - 1
    else
      places[#places + 1] = exact(score)
      places[#places + 1] = ARGV[place]
      score = score + step
    end
  end
  redis.call('HSET', META, 'version', PROTOCOL, 'sequence', exact(sequence + room))
  if bound > 0 then redis.call('HSET', META, 'maxsize', bound) end
  for first = FIRST, last, 4000 do
    redis.call('HSET', JOBS, unpack(ARGV, first, math.min(first + 3999, last)))
  end
  each_part('ZADD', index, places)
  if delay > 0 and priority > 0 then
    for place = FIRST, last, 2 do redis.call('HSET', PRIORITIES, ARGV[place], priority) end
  end
  redis.call('HINCRBY', META, 'accepted', fresh)
  ring(room)
elseif bound > 0 then
  redis.call('HSET', META, 'version', PROTOCOL, 'maxsize', bound)
end
if room < count then return {'FULL', room, waiting + fresh} end
if waiter ~= '' and redis.call('ZREM', LINE, waiter) == 1 then redis.call('HDEL', SEEN, waiter) end
return {'OK', room, waiting + fresh}
