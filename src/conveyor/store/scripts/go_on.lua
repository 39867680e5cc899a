#!lua flags=allow-oom
-- go_on: deferred -> ready, delayed or, if the policy of the job says so, over: a job before it in another queue ended.
--        Several jobs at once, since its outcome may be large.
-- use: wake, due, accept, terms, deliver, traces, settle, after
-- ARGV  1 the job before, as queue and id; 2 its outcome; 3.. ids
-- reply OK | VERSION
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
for place = 3, #ARGV do go_on(ARGV[place], ARGV[1], state_of(ARGV[2]), ARGV[2]) end
conclude()
return {'OK'}
