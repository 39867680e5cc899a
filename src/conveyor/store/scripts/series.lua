#!lua flags=no-writes,allow-stale
-- series: the figures of each minute, hour or day of a range, or (totals) of all time.
-- ARGV  1 tier: minute, hour, day or totals; 2 first; 3 last, at most 180 in all; 4.. field
-- reply OK, then of each bucket with figures: its number, and its values in the order of the fields (none: all fields
--       with their values)
local tier, first, last = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local reply = {'OK'}
for number = first, math.min(last, first + 179) do
  local key = tier == 'totals' and TOTALS or BASE .. tier .. ':' .. exact(number)
  local values
  if #ARGV == 3 then
    values = redis.call('HGETALL', key)
  elseif redis.call('EXISTS', key) == 1 then
    values = redis.call('HMGET', key, unpack(ARGV, 4, math.min(#ARGV, 203)))
  end
  if values and #values > 0 then
    reply[#reply + 1] = number
    reply[#reply + 1] = values
  end
end
return reply
