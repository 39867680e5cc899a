#!lua flags=no-writes,allow-stale
-- steps: what the steps of a job have kept, for people; of a large value only its size.
-- KEYS  1 the steps of the job
-- ARGV  1 max bytes of a value that is shown
-- reply field, number, size and value, or empty, of each
local kept, reply = redis.call('HGETALL', KEYS[1]), {}
for place = 1, #kept, 2 do
  local text = kept[place + 1]
  local at = string.find(text, ' ', 1, true) or 0 -- another program may have written it
  local size = #text - at
  reply[#reply + 1] = kept[place]
  reply[#reply + 1] = tonumber(string.match(text, '^%d+')) or 0
  reply[#reply + 1] = size
  reply[#reply + 1] = size <= tonumber(ARGV[1]) and string.sub(text, at + 1) or ''
end
return reply
