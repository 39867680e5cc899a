#!lua flags=no-writes
-- groups: count dead jobs by fingerprint, in a slice of at most 1000, the last to die first.
-- KEYS  1 dead; 2 groups
-- ARGV  1 first position, from 0; 2 last position
-- reply group, count, id and time of death, ms, of the one that died last, and time of the first death
local last = math.min(tonumber(ARGV[2]), tonumber(ARGV[1]) + 999)
local rows = redis.call('ZRANGE', KEYS[1], ARGV[1], last, 'REV', 'WITHSCORES')
if #rows == 0 then return {} end
local ids = {}
for place = 1, #rows, 2 do ids[#ids + 1] = rows[place] end
local names = redis.call('HMGET', KEYS[2], unpack(ids))
local reply, place_of = {}, {}
for number, id in ipairs(ids) do
  local name, died = names[number] or '', rows[2 * number]
  local place = place_of[name]
  if place then
    reply[place + 1] = reply[place + 1] + 1
    reply[place + 4] = died
  else
    place = #reply + 1
    place_of[name] = place
    reply[place], reply[place + 1], reply[place + 2], reply[place + 3], reply[place + 4] = name, 1, id, died, died
  end
end
return reply
