#!lua flags=no-writes,allow-stale
-- trail: acts, the newest first, each with what the targets of the order that it gave said last.
-- KEYS  1 stream
-- ARGV  1 where to begin, an id or + for the newest, ( before one that is left out; 2 how many at most
--       3 what the keys of last words begin with; 4 how many last words at most, of all acts together
-- gives of each: id, act, how many last words there are that are left out, target, last word, target, last word, …
local spare = tonumber(ARGV[4])
local found = redis.call('XREVRANGE', KEYS[1], ARGV[1], '-', 'COUNT', ARGV[2])
for place, entry in ipairs(found) do
  local fields = entry[2]
  local row = {entry[1], fields[2], 0}
  if fields[3] == 'order' then
    local key = ARGV[3] .. fields[4]
    local words = redis.pcall('HLEN', key) -- an error where somebody else has written there
    if type(words) == 'number' and words > spare then
      row[3] = words
    elseif type(words) == 'number' then
      spare = spare - words
      for _, word in ipairs(redis.call('HGETALL', key)) do row[#row + 1] = word end
    end
  end
  found[place] = row
end
return found
