#!lua flags=no-writes,allow-stale
-- trail: acts, the newest first, each with what the targets of the order that it gave said last.
-- KEYS  1 stream
-- ARGV  1 where to begin, an id or + for the newest, ( before one that is left out; 2 how many at most
--       3 what the keys of last words begin with
-- gives of each: id, act, target, last word, target, last word, …
local found = redis.call('XREVRANGE', KEYS[1], ARGV[1], '-', 'COUNT', ARGV[2])
for place, entry in ipairs(found) do
  local fields = entry[2]
  local row = {entry[1], fields[2]}
  if fields[3] == 'order' then
    for _, word in ipairs(redis.call('HGETALL', ARGV[3] .. fields[4])) do row[#row + 1] = word end
  end
  found[place] = row
end
return found
