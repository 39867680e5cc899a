#!lua flags=allow-oom
-- clear: remove what a queue that was removed has left behind, unless jobs were put to it since: it may be theirs.
-- KEYS  1 meta of the queue; 2.. the keys
-- gives 1 if they are removed, 0 if jobs were put
if redis.call('HEXISTS', KEYS[1], 'born') == 1 then return 0 end
redis.call('UNLINK', unpack(KEYS, 2))
return 1
