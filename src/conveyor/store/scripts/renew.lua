#!lua flags=allow-oom
-- renew: leased -> leased, later. By explicit list, never by owner; ends with a slice of promote and reap.
-- use: wake, deliver, settle, lease, recover
-- ARGV  1 lease, ms; 2.. id, token, S or H (S if it has started) of each job
-- gives OK, number of lost, lost ids …, ids that somebody wants cancelled …
local lease_ms = tonumber(ARGV[1])
local now = server_time()
local meta = redis.call('HMGET', META, 'clock', 'wall')
local clock = lease_clock(meta[1], meta[2], now)
if redis.call('EXISTS', LEASED) == 1 then redis.call('HSET', META, 'clock', exact(clock), 'wall', exact(now)) end
local till = exact(clock + lease_ms)
local lost, wishes = {}, {}
for place = 2, #ARGV, 3 do
  local id, token, how = ARGV[place], ARGV[place + 1], ARGV[place + 2]
  local text = redis.call('HGET', LEASES, id)
  if is_holder(text, token) then
    redis.call('ZADD', LEASED, 'XX', till, id)
    local lease = read_lease(text)
    if lease.how == 'C' then
      wishes[#wishes + 1] = id
    elseif lease.how ~= how then
      lease.how = how
      redis.call('HSET', LEASES, id, write_lease(lease))
    end
  else
    lost[#lost + 1] = id
  end
end
if promote(now) + reap(clock, now) > 0 then ring(1) end
local reply = {'OK', #lost}
for _, id in ipairs(lost) do reply[#reply + 1] = id end
for _, id in ipairs(wishes) do reply[#reply + 1] = id end
return reply
