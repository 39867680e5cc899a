#!lua flags=no-writes,allow-stale
-- count: how many jobs are in each state, and the ledger: accepted = live + finished + cancelled + dead + discarded.
-- use: line
-- ARGV  none
-- reply ready, delayed, leased, dead, blocked producers, then of meta: accepted, finished, cancelled, discarded,
--       orphans, lapsed, maxsize, paused, shutdown; then how many of these keys have a wrong type, and how many entries
--       are torn: jobs without bytes, leases or reasons, or these without a job; lost meta; deferred; until when the
--       queue rests, ms since 1970 by the server's clock, or 0
-- Works even if another program has written to the queue's keys: one such queue must not hide the others.
local MAX_IN_LINE = 1000 -- that are checked; all others count
local reply, strange = {}, 0
local function size_of(key, command)
  local size = redis.pcall(command or 'ZCARD', key)
  if type(size) == 'number' then return size end
  strange = strange + 1
  return 0
end

local function blocked() -- those in line that were seen lately; the next put removes the crashed ones
  local size = size_of(LINE)
  if size == 0 then return 0 end
  local waiters = redis.call('ZRANGE', LINE, 0, MAX_IN_LINE - 1)
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
  'maxsize', 'paused', 'shutdown', 'rest', 'due_shift')
if meta.err then meta, strange = {}, strange + 1 end
for place = 1, 9 do reply[#reply + 1] = tonumber(meta[place]) or 0 end
local _, _, leased, dead = unpack(reply)
local bodies, deferred = size_of(JOBS, 'HLEN'), size_of(DEFERRED)
local torn = math.abs(reply[1] + reply[2] + deferred + leased + dead - bodies)
  + math.abs(leased - size_of(LEASES, 'HLEN')) + math.abs(dead - size_of(REASONS, 'HLEN'))
if not meta[1] and redis.call('EXISTS', META) == 0 and redis.call('EXISTS', JOBS, HISTORY) > 0 then
  torn = torn + 1
end
reply[#reply + 1] = strange
reply[#reply + 1] = torn
reply[#reply + 1] = deferred
local rest = (tonumber(meta[10]) or 0) - (tonumber(meta[11]) or 0)
reply[#reply + 1] = rest > server_time() and rest or 0
return reply
