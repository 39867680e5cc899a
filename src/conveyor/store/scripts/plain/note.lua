#!lua flags=allow-oom
-- note: remember a name in a set. On a full server too: `get` notes its queue before it drains it.
-- KEYS  1 set
-- ARGV  1 name
return redis.call('SADD', KEYS[1], ARGV[1])
