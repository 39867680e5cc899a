#!lua flags=allow-oom
-- renew: leased -> leased, later. By explicit list, never by owner; ends with a slice of promote and reap.
-- use: wake, due, accept, terms, deliver, traces, settle, after, lease, recover
-- ARGV  1 lease, ms; 2.. id, token, H or S or L (S if it has started, L if its consumer is also exiting) of each job
-- reply OK, number of lost, positions of the lost …, positions of those to be cancelled …
-- A position counts from 0 in the list that was sent: an id may be held twice, under an old token and a new one.
local lease_ms = tonumber(ARGV[1])
local now = server_time()
local meta = redis.call('HMGET', META, 'clock', 'wall')
local clock = lease_clock(meta[1], meta[2], now)
if redis.call('EXISTS', LEASED) == 1 then redis.call('HSET', META, 'clock', exact(clock), 'wall', exact(now)) end
local till = exact(clock + lease_ms)
local lost, to_cancel = {}, {}
for place = 2, #ARGV, 3 do
  local id, token, how = ARGV[place], ARGV[place + 1], ARGV[place + 2]
  local text = redis.call('HGET', LEASES, id)
  if is_holder(text, token) then
    redis.call('ZADD', LEASED, 'XX', till, id)
    local lease = read_lease(text)
    if lease.how == 'C' then
      to_cancel[#to_cancel + 1] = (place - 2) / 3
    elseif lease.how ~= how then
      lease.how = how
      redis.call('HSET', LEASES, id, write_lease(lease))
    end
  else
    lost[#lost + 1] = (place - 2) / 3
  end
end
if promote(now) + reap(clock, now) > 0 then ring(1) end
local reply = {'OK', #lost}
for _, place in ipairs(lost) do reply[#reply + 1] = place end
for _, place in ipairs(to_cancel) do reply[#reply + 1] = place end
return reply
