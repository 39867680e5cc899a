#!lua flags=no-writes,allow-stale
-- count: how many jobs are where, and the books: accepted = live + finished + cancelled + dead + discarded.
-- ARGV  none
-- gives ready, delayed, leased, dead, blocked producers, then of meta: accepted, finished, cancelled, discarded,
--       orphans, lapsed, maxsize, paused, shutdown; then how many of these keys are of another type than they must be
-- Answers for a queue to whose keys somebody else has written, too: one such queue must not hide the others.
local reply, strange = {}, 0
for place, key in ipairs({READY, DELAYED, LEASED, DEAD, LINE}) do
  local size = redis.pcall('ZCARD', key)
  if type(size) ~= 'number' then size, strange = 0, strange + 1 end
  reply[place] = size
end
local meta = redis.pcall('HMGET', META, 'accepted', 'finished', 'cancelled', 'discarded', 'orphans', 'lapsed',
  'maxsize', 'paused', 'shutdown')
if meta.err then meta, strange = {}, strange + 1 end
for place = 1, 9 do reply[#reply + 1] = tonumber(meta[place]) or 0 end
reply[#reply + 1] = strange
return reply
