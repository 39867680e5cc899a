#!lua flags=allow-oom
-- follow: note that a job of another queue comes after one of this queue.
-- use: wake, due, accept, terms, deliver, traces, settle, after
-- ARGV  1 id; 2 the follower: its queue, its id, and i if it gets the outcome
-- reply OK: it will be told | OVER, outcome | GONE | VERSION
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
local id = ARGV[1]
local follower = string.match(ARGV[2], '^%S+ %S+')
local outcome = outcome_of(id)
if not outcome and redis.call('HEXISTS', JOBS, id) == 0 then return {'GONE'} end
link(id, {'> ' .. follower})
if outcome then return {'OVER', outcome} end
redis.call('SREM', BASE .. 'followers:' .. id, follower .. ' ', follower .. ' i') -- of an earlier job with its id
redis.call('SADD', BASE .. 'followers:' .. id, ARGV[2])
redis.call('SADD', FOLLOWED, id)
return {'OK'}
