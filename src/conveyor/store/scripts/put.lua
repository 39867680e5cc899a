#!lua
-- put: gone -> ready or delayed. A counted prefix of the jobs, as many as there is room for.
-- use: wake, line, room, due, accept
-- ARGV  1 mode: check (own ids: refuse known ones); again (known ones count as accepted, even if they have finished:
--       sent twice, or put again after the server lost them); new (as again, but none is expected to be known: a
--       delayed put may arrive behind the one that was sent again in its place)
--       2 maxsize for a queue without one, 0 for none; 3 priority, or front and a priority: each job goes in front of
--       the earlier ones of it; 4 delay, ms; 5 waiter: the name under which the caller waits for room, empty if it
--       does not
--       6 how many more jobs the caller will send once there is room; without any job: only ask for room
--       7.. id, bytes of each job
-- reply OK, or FULL if not all of these were accepted, accepted, how many of the rest there is room for, the birth of
--       the queue (0: no job was put yet), sequence, how many of these numbers are new
--       | DUP, id | SHUT, how many of these were accepted before | VERSION
-- Atomic because room must not be assigned twice. Refused by a server that is out of memory (no allow-oom).
local mode, bound, priority, delay, waiter = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local rest = tonumber(ARGV[6])
local is_front = not priority
if is_front then priority = tonumber(string.sub(ARGV[3], #'front ' + 1)) end
local FIRST = 7
local count = (#ARGV - FIRST + 1) / 2
local meta = redis.call('HMGET', META, unpack(ACCEPT_META))
local sequence = tonumber(meta[4]) or 0
if is_foreign(meta[1]) then return {'VERSION'} end

-- The usual case in half as many calls: one new job, no limit, no delay, and no one waits for room.
local is_plain = meta[1] == PROTOCOL and meta[5] and not meta[2] and not meta[3] and not is_front
if is_plain and mode == 'new' and count == 1 and bound == 0 and delay == 0 and waiter == '' and rest == 0 then
  local id = ARGV[FIRST]
  if redis.call('EXISTS', BASE .. 'outcome:' .. id) == 0 and redis.call('HSET', JOBS, id, ARGV[FIRST + 1]) == 1 then
    sequence = sequence + 1
    redis.call('HSET', META, 'sequence', exact(sequence), 'accepted', exact((tonumber(meta[6]) or 0) + 1))
    redis.call('ZADD', READY, exact((255 - priority) * LEVEL + sequence), id)
    ring(1)
    return {'OK', 1, 0, meta[5], sequence, 1}
  end
end

-- A new job is known only if this put arrives behind the one that was sent again in its place. That one accepted the
-- first of them, or none; and of those it accepted, the last finished last. Checking all would cost a bulk put 10 %.
local function is_any_known()
  local first, last = ARGV[FIRST], ARGV[#ARGV - 1]
  local bytes = redis.call('HMGET', JOBS, first, last)
  local outcomes = {BASE .. 'outcome:' .. first, BASE .. 'outcome:' .. last}
  return bytes[1] or bytes[2] or redis.call('EXISTS', unpack(outcomes)) > 0
end

local known, known_count = {}, 0
if mode ~= 'new' or count > 0 and is_any_known() then
  for place = FIRST, #ARGV, 2 do
    local id = ARGV[place]
    local bytes = redis.call('HGET', JOBS, id)
    local over = not bytes and redis.call('EXISTS', BASE .. 'outcome:' .. id) == 1
    if bytes and bytes ~= ARGV[place + 1] or over and mode == 'check' then return {'DUP', id} end
    if bytes or over then
      known[id] = true
      known_count = known_count + 1
    end
  end
end
if meta[3] and (known_count < count or count == 0) then return {'SHUT', known_count} end

local room = room_for(count, rest, waiter, tonumber(meta[2]) or bound, known, FIRST, 2)
local taken = math.min(room, count)
local fresh = taken
if taken > 0 then
  local jobs, first, last = ARGV, FIRST, FIRST + 2 * taken - 1
  if known_count > 0 then
    jobs, first = {}, 1
    for place = FIRST, last, 2 do
      if not known[ARGV[place]] then
        jobs[#jobs + 1] = ARGV[place]
        jobs[#jobs + 1] = ARGV[place + 1]
      end
    end
    last = #jobs
    fresh = last / 2
  end
  -- Even if all are known, meta is written: WAITAOF behind a repeated put waits for a write of its connection.
  local places = accept(jobs, first, last, priority, is_front, delay, meta)
  if bound > 0 and not meta[2] then redis.call('HSET', META, 'maxsize', bound) end
  if fresh > 0 then each_part('ZADD', delay > 0 and DELAYED or READY, places) end
  ring(fresh)
elseif bound > 0 and not meta[2] then
  redis.call('HSET', META, 'version', PROTOCOL, 'maxsize', bound)
end
local born, last_number = meta[5] or 0, tonumber(meta[4]) or 0
if room < count then return {'FULL', room, 0, born, last_number, fresh} end
leave_line(waiter, rest)
return {'OK', taken, room - count, born, last_number, fresh}
