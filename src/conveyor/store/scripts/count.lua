#!lua flags=no-writes,allow-stale
-- count: how many jobs are where, and the books: accepted = live + finished + cancelled + dead + discarded.
-- ARGV  none
-- gives ready, delayed, leased, dead, blocked producers, then of meta: accepted, finished, cancelled, discarded,
--       orphans, lapsed, maxsize, paused, shutdown
local reply = {
  redis.call('ZCARD', READY), redis.call('ZCARD', DELAYED), redis.call('ZCARD', LEASED), redis.call('ZCARD', DEAD),
  redis.call('ZCARD', LINE),
}
local meta = redis.call('HMGET', META, 'accepted', 'finished', 'cancelled', 'discarded', 'orphans', 'lapsed', 'maxsize',
  'paused', 'shutdown')
for place = 1, 9 do reply[#reply + 1] = tonumber(meta[place]) or 0 end
return reply
