#!lua flags=allow-oom
-- hook: gone -> ready, delayed or deferred. The hook of a job of another queue, which has ended; as in
--       shared/terms.lua, also in a full queue and on a full server, since that end has happened.
-- use: wake, due, accept, terms
-- ARGV  1 id; 2 the job that has ended, as queue and id; 3 packed bytes, priority, own terms, outcome
-- reply OK | VERSION
-- Atomic because it is put once: not if it is known, as after a command that was sent twice.
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
local id = ARGV[1]
if redis.call('HEXISTS', JOBS, id) + redis.call('EXISTS', BASE .. 'outcome:' .. id) == 0 then
  local bytes, priority, own, outcome = unpack(cmsgpack.unpack(ARGV[3]))
  put_hook(id, bytes, priority, own, ARGV[2], outcome)
  admit_next()
end
return {'OK'}
