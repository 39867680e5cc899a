#!lua flags=allow-oom
-- go_on: deferred -> ready, delayed or, if the policy of the job says so, over: a job before it in another queue ended.
-- use: wake, due, accept, terms, deliver, traces, settle, after
-- ARGV  1 id; 2 the job before, as queue and id; 3 its outcome
-- reply OK | VERSION
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
go_on(ARGV[1], ARGV[2], state_of(ARGV[3]), ARGV[3])
conclude()
return {'OK'}
