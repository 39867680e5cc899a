#!lua flags=allow-oom
-- release: leased -> ready, at the old position, without counting as a crash; for prefetched jobs, and on purpose. Jobs
--          with a requested cancellation end here. An aborted run is kept for people.
-- use: wake, due, accept, terms, deliver, traces, settle, after, lease
-- ARGV  1 token; 2 attempt (empty: none); 3.. ids
-- reply OK, how many were released
local token = ARGV[1]
local released = 0
for place = 3, #ARGV do
  local id = ARGV[place]
  local text = redis.call('HGET', LEASES, id)
  if is_holder(text, token) then
    local lease = read_lease(text)
    if lease.how == 'C' then
      settle(id, CANCELLED, CANCELLED_KEEP, 'cancelled', server_time())
    else
      redis.call('ZREM', LEASED, id)
      redis.call('HDEL', LEASES, id)
      redis.call('HDEL', PROGRESS, id)
      put_back(id, lease.place)
      if ARGV[2] ~= '' then add_attempt(id, ARGV[2], ATTEMPT_KEEP) end
    end
    released = released + 1
  end
end
if released > 0 then
  ring(released)
  conclude()
end
return {'OK', released}
