#!lua flags=allow-oom
-- purge: ready and delayed -> over (cancelled), a slice. Running jobs are left alone.
-- use: wake, deliver, settle
-- ARGV  1 how many at most; 2 outcome; 3 keep, ms
-- gives OK, how many
local most, now = tonumber(ARGV[1]), server_time()
local ids = redis.call('ZRANGE', READY, 0, most - 1)
if #ids < most then
  for _, id in ipairs(redis.call('ZRANGE', DELAYED, 0, most - #ids - 1)) do ids[#ids + 1] = id end
end
for _, id in ipairs(ids) do settle(id, ARGV[2], tonumber(ARGV[3]), 'cancelled', now) end
make_room(tonumber(redis.call('HGET', META, 'maxsize')) or 0)
tell_joiners()
return {'OK', #ids}
