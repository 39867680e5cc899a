#!lua flags=allow-oom
-- listen: hold an inbox open, and ask for outcomes that may have come before it was.
-- ARGV  1 inbox; 2 for how long, ms (0: close it); 3 bytes that the reply may have; 4.. ids asked for
-- gives id, outcome (empty: no such job and nothing kept) of each that is over; ids left out have not ended, and their
--       outcome will be pushed; then the number of ids looked at, 1 if the inbox was open already,
--       when the queue came into being (0: there is none), and its sequence
local inbox, hold, most_bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local FIRST = 4
local now = server_time()
redis.call('ZREMRANGEBYSCORE', INBOXES, '-inf', now)
if hold == 0 then
  redis.call('ZREM', INBOXES, inbox)
  redis.call('DEL', BASE .. 'inbox:' .. inbox)
  return {0, 0, 0, 0}
end
local was_closed = redis.call('ZADD', INBOXES, now + hold, inbox) -- else pushes may have been missed

local is_open = {}
local function watch(id) -- note who waits for it, and forget those whose inbox has lapsed: their processes are gone
  local known = redis.call('HGET', WATCHERS, id) or ''
  local watchers, is_known = {}, false
  for other in string.gmatch(known, '%S+') do
    if is_open[other] == nil then is_open[other] = redis.call('ZSCORE', INBOXES, other) ~= false end
    if is_open[other] then watchers[#watchers + 1] = other end
    is_known = is_known or other == inbox
  end
  if not is_known then watchers[#watchers + 1] = inbox end
  local text = table.concat(watchers, ' ')
  if text ~= known then redis.call('HSET', WATCHERS, id, text) end
end

local reply, size, looked = {}, 0, 0
for place = FIRST, #ARGV do
  local id = ARGV[place]
  local outcome = redis.call('GET', BASE .. 'outcome:' .. id) or redis.call('HGET', REASONS, id)
  if not outcome and redis.call('HEXISTS', JOBS, id) == 0 then outcome = '' end
  if outcome then
    reply[#reply + 1] = id
    reply[#reply + 1] = outcome
    size = size + #outcome
  elseif string.sub(id, 1, 10) ~= inbox then
    watch(id)
  end
  looked = looked + 1
  if size > most_bytes then break end
end
reply[#reply + 1] = looked
reply[#reply + 1] = 1 - was_closed
local meta = redis.call('HMGET', META, 'born', 'sequence')
reply[#reply + 1] = meta[1] or 0
reply[#reply + 1] = meta[2] or 0
return reply
