#!lua flags=allow-oom
-- follow: note that jobs of another queue come after one of this queue.
-- use: wake, due, accept, terms, deliver, settle, after
-- ARGV  1 id; 2 i if its followers get the outcome, or empty; 3.. followers (queue and id)
-- reply OK: they will be told | OVER, outcome | GONE | VERSION
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
local id, wants = ARGV[1], ARGV[2]
local outcome = outcome_of(id)
if not outcome and redis.call('HEXISTS', JOBS, id) == 0 then return {'GONE'} end
local links = {}
for place = 3, #ARGV do links[place - 2] = '> ' .. ARGV[place] end
link(id, links)
if outcome then return {'OVER', wanted(outcome, wants)} end
for place = 3, #ARGV do
  local follower = ARGV[place]
  redis.call('SREM', BASE .. 'followers:' .. id, follower .. ' ', follower .. ' i') -- of an earlier job with its id
  redis.call('SADD', BASE .. 'followers:' .. id, follower .. ' ' .. wants)
end
redis.call('SADD', FOLLOWED, id)
return {'OK'}
