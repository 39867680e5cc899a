-- How many of the jobs in ARGV and the rest, in order, fit into so many free places: known ones need none. The jobs
-- begin at `first`, and each has `step` arguments.
local function fitting(free, known, first, step)
  if not next(known) then return free end
  local fit = 0
  for place = first, #ARGV, step do
    if not known[ARGV[place]] then
      if free == 0 then return fit end
      free = free - 1
    end
    fit = fit + 1
  end
  return fit + free
end

-- Room for jobs in a queue with a limit; who does not get enough joins the line.
-- rest: how many more will follow; known, first, step: as of `fitting`. Returns how many of them may be put now.
local function room_for(count, rest, waiter, maxsize, known, first, step)
  local room = count + rest
  if maxsize == 0 then return room end
  local ahead = 0
  local now = server_time()
  if redis.call('EXISTS', LINE) == 1 then -- crashed producers block the others for at most 5 s
    for _ = 1, 64 do
      local gone = 0
      for _, other in ipairs(redis.call('ZRANGE', LINE, 0, 15)) do
        if other ~= waiter and is_gone(redis.call('HGET', SEEN, other), now) then
          redis.call('ZREM', LINE, other)
          redis.call('HDEL', SEEN, other)
          gone = gone + 1
        end
      end
      if gone < 16 then break end
    end
    ahead = waiter ~= '' and redis.call('ZRANK', LINE, waiter) or redis.call('ZCARD', LINE)
  end
  room = math.min(room, fitting(math.max(0, maxsize - buffered() - ahead), known, first, step))
  local is_blocked = room < count or room == count and rest > 0
  if waiter ~= '' and (is_blocked or rest > 0 and redis.call('ZSCORE', LINE, waiter)) then
    local behind = redis.call('ZRANGE', LINE, -1, -1, 'WITHSCORES')[2] or 0
    redis.call('ZADD', LINE, 'NX', behind + 1, waiter)
    redis.call('HSET', SEEN, waiter, now)
  end
  return room
end

local function leave_line(waiter, rest) -- all was put, and no more will follow
  if rest == 0 and waiter ~= '' and redis.call('ZREM', LINE, waiter) == 1 then redis.call('HDEL', SEEN, waiter) end
end
