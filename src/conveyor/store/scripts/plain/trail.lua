#!lua flags=no-writes,allow-stale
-- trail: entries of the audit trail, the newest first, each with the last words of the targets of its control command.
-- KEYS  1 stream
-- ARGV  1 where to begin, an id or + for the newest, with ( in front to leave it out; 2 max entries
--       3 prefix of the keys of last words; 4 max last words of all entries together
-- reply of each: id, entry, how many last words are left out, target, last word, target, last word, …
local spare = tonumber(ARGV[4])
local found = redis.call('XREVRANGE', KEYS[1], ARGV[1], '-', 'COUNT', ARGV[2])
for place, entry in ipairs(found) do
  local fields = entry[2]
  local row = {entry[1], fields[2], 0}
  if fields[3] == 'order' then
    local key = ARGV[3] .. fields[4]
    local words = redis.pcall('HLEN', key) -- an error if another program has written there
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
