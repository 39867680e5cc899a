-- Wake-ups. A wake-up may be lost or spurious: a woken waiter polls again.
local MAX_WAKE_UPS = 32

local function ring(count) -- wake up to `count` waiting consumers
  local spare = math.min(count, MAX_WAKE_UPS - redis.call('LLEN', BELL))
  if spare > 0 then
    local entries = {}
    for place = 1, spare do entries[place] = '1' end
    redis.call('RPUSH', BELL, unpack(entries))
  end
end

local function wake(waiter, room) -- room: for how many jobs there is room; a producer sends at most as many at first
  local list = BASE .. 'wake:' .. waiter
  if redis.call('EXISTS', list) == 0 then
    redis.call('RPUSH', list, room or '1')
    redis.call('PEXPIRE', list, 10000)
  end
end

local function buffered() -- how many jobs the limit of the queue counts
  return redis.call('ZCARD', READY) + redis.call('ZCARD', DELAYED) + redis.call('ZCARD', DEFERRED)
end

local function make_room(maxsize) -- wake as many producers as have room now, first come, first served
  if redis.call('EXISTS', LINE) == 0 then return end
  local free = LEVEL -- without a limit there is room for any number
  if maxsize > 0 then free = maxsize - buffered() end
  if free <= 0 then return end
  for place, waiter in ipairs(redis.call('ZRANGE', LINE, 0, math.min(free, MAX_WAKE_UPS) - 1)) do
    wake(waiter, exact(free - place + 1))
  end
end

local function wake_joiners() -- wake the joiners if no job is left; and a consumer if a limit let jobs wait
  if redis.call('EXISTS', JOINERS, LIMITS) == 0 then return end
  if redis.call('HEXISTS', LIMITS, '') == 1 and redis.call('EXISTS', READY) == 1 then ring(1) end
  if redis.call('EXISTS', READY, DELAYED, DEFERRED, LEASED) > 0 then return end
  for _, waiter in ipairs(redis.call('SPOP', JOINERS, 64)) do
    redis.call('HDEL', SEEN, waiter)
    wake(waiter)
  end
end
