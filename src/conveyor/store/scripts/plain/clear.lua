#!lua flags=allow-oom
-- clear: remove keys that a removed queue has left, unless jobs were put to it since, whose keys they may be.
-- KEYS  1 meta of the queue; 2.. the keys
-- reply 1 if they are removed, 0 if jobs were put
if redis.call('HEXISTS', KEYS[1], 'born') == 1 then return 0 end
redis.call('UNLINK', unpack(KEYS, 2))
return 1
