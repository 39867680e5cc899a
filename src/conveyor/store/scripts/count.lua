#!lua flags=no-writes,allow-stale
-- count: how many jobs are where, and the books: accepted = live + finished + cancelled + dead + discarded.
-- use: line
-- ARGV  none
-- gives ready, delayed, leased, dead, blocked producers, then of meta: accepted, finished, cancelled, discarded,
--       orphans, lapsed, maxsize, paused, shutdown; then how many of these keys are of another type than they must be
-- Answers for a queue to whose keys somebody else has written, too: one such queue must not hide the others.
local MOST_IN_LINE = 1000 -- that are looked at; the others count as they stand there
local reply, strange = {}, 0
local function size_of(key)
  local size = redis.pcall('ZCARD', key)
  if type(size) == 'number' then return size end
  strange = strange + 1
  return 0
end

local function blocked() -- of the line those heard of lately: the next put takes away who died while it waited
  local size = size_of(LINE)
  if size == 0 then return 0 end
  local waiters = redis.call('ZRANGE', LINE, 0, MOST_IN_LINE - 1)
  local seen, now = redis.pcall('HMGET', SEEN, unpack(waiters)), server_time()
  if seen.err then
    strange = strange + 1
    return size
  end
  local gone = 0
  for place = 1, #waiters do
    if is_gone(seen[place], now) then gone = gone + 1 end
  end
  return size - gone
end

for place, key in ipairs({READY, DELAYED, LEASED, DEAD}) do reply[place] = size_of(key) end
reply[5] = blocked()
local meta = redis.pcall('HMGET', META, 'accepted', 'finished', 'cancelled', 'discarded', 'orphans', 'lapsed',
  'maxsize', 'paused', 'shutdown')
if meta.err then meta, strange = {}, strange + 1 end
for place = 1, 9 do reply[#reply + 1] = tonumber(meta[place]) or 0 end
reply[#reply + 1] = strange
return reply
