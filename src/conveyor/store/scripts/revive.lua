#!lua
-- revive: dead -> ready, as if never tried, with its old priority.
-- use: wake, due, accept, terms
-- ARGV  1.. ids
-- reply OK, how many were revived | VERSION
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
local sequence = tonumber(redis.call('HGET', META, 'sequence')) or 0
local revived = 0
for _, id in ipairs(ARGV) do
  if redis.call('ZREM', DEAD, id) == 1 then
    revived = revived + 1
    local priority = tonumber(redis.call('HGET', PRIORITIES, id)) or 0
    redis.call('HDEL', PRIORITIES, id)
    redis.call('HDEL', REASONS, id)
    redis.call('HDEL', GROUPS, id)
    redis.call('HDEL', TRIES, id)
    redis.call('DEL', BASE .. 'outcome:' .. id, BASE .. 'stream:' .. id)
    local place, terms = exact((255 - priority) * LEVEL + sequence + revived), redis.call('HGET', TERMS, id)
    if terms then enter(id, terms, place) else redis.call('ZADD', READY, place, id) end
  end
end
if revived > 0 then
  redis.call('HSET', META, 'sequence', exact(sequence + revived))
  admit_next()
  ring(revived)
end
return {'OK', revived}
