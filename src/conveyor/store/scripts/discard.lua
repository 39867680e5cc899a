#!lua flags=allow-oom
-- discard: dead -> over, for good: the job's bytes are removed, and its outcome is kept until it expires.
-- use: wake, due, accept, terms, deliver, traces
-- ARGV  1.. ids
-- reply OK, how many were discarded | VERSION
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
local discarded = 0
for _, id in ipairs(ARGV) do
  if redis.call('ZREM', DEAD, id) == 1 then
    discarded = discarded + 1
    redis.call('HDEL', REASONS, id)
    redis.call('HDEL', GROUPS, id)
    redis.call('HDEL', JOBS, id)
    redis.call('HDEL', TRIES, id)
    redis.call('HDEL', PRIORITIES, id)
    redis.call('HDEL', TERMS, id)
    drop_inputs({id})
    forget_steps({id})
  end
end
if discarded > 0 then redis.call('HINCRBY', META, 'discarded', discarded) end
return {'OK', discarded}
