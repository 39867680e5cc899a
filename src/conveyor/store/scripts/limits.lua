#!lua flags=no-writes,allow-stale
-- limits: the limit of the queue, and its keys that jobs wait for, those with the most first.
-- use: terms
-- ARGV  1 max keys of the reply; 2 how many keys are read; of more keys, those of as many random deferred jobs
--       3 optional: the only key that is read, whether jobs wait for it or not
-- reply OK, packed limit of the queue or empty, how many of its jobs started within its period, how many keys have a
--       limit, how many were read, then of each key: its name, packed limit, how many of its jobs started within its
--       period, how many wait, until when none may start, ms since 1970 by the server's clock, or 0
local most, max_read = tonumber(ARGV[1]), tonumber(ARGV[2])
local shift = tonumber(redis.call('HGET', META, 'due_shift')) or 0
local now = server_time() + shift -- by the queue's own clock

local function starts_of(key, limit) -- the list begins with the latest
  if limit[STARTS] == 0 then return 0 end
  local list, first = BASE .. 'starts:' .. key, now - limit[PERIOD]
  local low, high = 0, redis.call('LLEN', list)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if tonumber(redis.call('LINDEX', list, middle)) > first then low = middle + 1 else high = middle end
  end
  return low
end

local function keys_to_read(total)
  local found, names = {}, {}
  if total <= max_read then
    for _, key in ipairs(redis.call('HKEYS', LIMITS)) do found[key] = true end
  else
    local ids = redis.call('ZRANDMEMBER', DEFERRED, max_read)
    for _, text in ipairs(#ids > 0 and redis.call('HMGET', TERMS, unpack(ids)) or {}) do
      local key = text and key_of(text)
      if key then found[key] = true end
    end
  end
  found[''] = nil
  for key in pairs(found) do names[#names + 1] = key end
  return names
end

local total = redis.call('HLEN', LIMITS)
local whole = redis.call('HGET', LIMITS, '') or ''
local names, rows = ARGV[3] and {ARGV[3]} or keys_to_read(total), {}
for _, key in ipairs(names) do
  local waiting, text = redis.call('ZCARD', BASE .. 'lane:' .. key), redis.call('HGET', LIMITS, key)
  local limit = text and read_limit(text)
  if limit and (waiting > 0 or limit[REST] > now or ARGV[3]) then
    local has_turn = limit[STARTS] > 0 or limit[REST] > 0
    local turn = has_turn and tonumber(redis.call('ZSCORE', TURNS, key)) or 0
    local until_when = math.max(turn, limit[REST])
    rows[#rows + 1] = {key, text, starts_of(key, limit), waiting, until_when > now and until_when - shift or 0}
  end
end
table.sort(rows, function(one, other)
  if one[4] ~= other[4] then return one[4] > other[4] end
  return one[1] < other[1]
end)
local reply = {'OK', whole, whole ~= '' and starts_of('', read_limit(whole)) or 0,
  whole ~= '' and total - 1 or total, #names}
for place = 1, math.min(most, #rows) do reply[#reply + 1] = rows[place] end
return reply
