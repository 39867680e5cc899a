#!lua flags=allow-oom
-- follow: note that jobs of another queue come after one of this queue.
-- use: wake, due, accept, terms, deliver, traces, settle, after
-- ARGV  1 id; 2 i if its followers get the outcome, or empty; 3 their queue; 4.. their ids
-- reply OK: they will be told | OVER, outcome | GONE | VERSION
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
local id, wants, queue = ARGV[1], ARGV[2], ARGV[3]
local outcome = outcome_of(id)
if not outcome and redis.call('HEXISTS', JOBS, id) == 0 then
  -- A late copy: its followers were told, or will be by a message in the outbox.
  local was_noted = redis.call('SMISMEMBER', BASE .. 'links:' .. id, '> ' .. queue .. ' ' .. (ARGV[4] or ''))[1]
  return {was_noted == 1 and 'OK' or 'GONE'}
end
local links, former, followers = {}, {}, {} -- former: of earlier jobs with these ids
for place = 4, #ARGV do
  local follower = queue .. ' ' .. ARGV[place]
  links[#links + 1] = '> ' .. follower
  former[#former + 1] = follower .. ' '
  former[#former + 1] = follower .. ' i'
  followers[#followers + 1] = follower .. ' ' .. wants
end
link(id, links)
if outcome then return {'OVER', wanted(outcome, wants)} end
each_part('SREM', BASE .. 'followers:' .. id, former)
each_part('SADD', BASE .. 'followers:' .. id, followers)
redis.call('SADD', FOLLOWED, id)
return {'OK'}
