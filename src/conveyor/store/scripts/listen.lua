#!lua flags=allow-oom
-- listen: hold an inbox open, and look up outcomes of jobs that may have finished before.
-- ARGV  1 inbox; 2 for how long, ms (0: close it); 3 max bytes of the reply; 4.. ids to look up
-- reply id, outcome (empty: unknown job) of each finished one; ids left out are unfinished, and their outcomes will be
--       pushed; then the number of ids looked up, 1 if the inbox was open already, the birth of the queue
--       (0: there is none), and its sequence
local inbox, hold, max_bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local FIRST = 4
local now = server_time()
redis.call('ZREMRANGEBYSCORE', INBOXES, '-inf', now)
if hold == 0 then
  redis.call('ZREM', INBOXES, inbox)
  redis.call('DEL', BASE .. 'inbox:' .. inbox)
  return {0, 0, 0, 0}
end
local was_closed = redis.call('ZADD', INBOXES, now + hold, inbox) -- if so, pushes may have been missed

local is_open = {}
local function watch(id) -- note this inbox for it, and remove expired ones: their processes are gone
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
  if size > max_bytes then break end
end
reply[#reply + 1] = looked
reply[#reply + 1] = 1 - was_closed
local meta = redis.call('HMGET', META, 'born', 'sequence')
reply[#reply + 1] = meta[1] or 0
reply[#reply + 1] = meta[2] or 0
return reply
