#!lua flags=allow-oom
-- release: leased -> ready, at the old place, without blame; what was not started, or is given back on purpose.
-- use: wake, lease
-- ARGV  1 token; 2.. ids
-- gives OK, how many were released
local token = ARGV[1]
local released = 0
for place = 2, #ARGV do
  local id = ARGV[place]
  local text = redis.call('HGET', LEASES, id)
  if is_holder(text, token) then
    redis.call('ZREM', LEASED, id)
    redis.call('HDEL', LEASES, id)
    redis.call('HDEL', PROGRESS, id)
    redis.call('ZADD', READY, read_lease(text).place, id)
    released = released + 1
  end
end
if released > 0 then ring(released) end
return {'OK', released}
