#!lua
-- revive: dead -> ready, as if never tried, with its old priority; but not while another job has its unique key.
-- use: wake, due, accept, terms
-- ARGV  1.. ids
-- reply OK, how many were revived | VERSION
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
local sequence = tonumber(redis.call('HGET', META, 'sequence')) or 0
local revived = 0

local function may_return(terms, id) -- and has its unique key then
  if not terms.u or terms.uk or redis.call('SET', BASE .. 'unique:' .. terms.u, id, 'NX') then return true end
  local holder = redis.call('GET', BASE .. 'unique:' .. terms.u)
  if redis.call('HEXISTS', JOBS, holder) == 1 and not redis.call('ZSCORE', DEAD, holder) then return false end
  redis.call('SET', BASE .. 'unique:' .. terms.u, id)
  return true
end

for _, id in ipairs(ARGV) do
  local terms = redis.call('HGET', TERMS, id)
  if redis.call('ZSCORE', DEAD, id) and (not terms or may_return(read_terms(terms), id)) then
    redis.call('ZREM', DEAD, id)
    revived = revived + 1
    local priority = tonumber(redis.call('HGET', PRIORITIES, id)) or 0
    redis.call('HDEL', PRIORITIES, id)
    redis.call('HDEL', REASONS, id)
    redis.call('HDEL', GROUPS, id)
    redis.call('HDEL', TRIES, id)
    redis.call('DEL', BASE .. 'outcome:' .. id, BASE .. 'stream:' .. id)
    local place = exact((255 - priority) * LEVEL + sequence + revived)
    if terms then enter(id, terms, place) else redis.call('ZADD', READY, place, id) end
  end
end
if revived > 0 then
  redis.call('HSET', META, 'sequence', exact(sequence + revived))
  admit_next()
  ring(revived)
end
return {'OK', revived}
