#!lua flags=allow-oom
-- note: add a name to a set, even if the server is full: `get` notes its queue before it drains it.
-- KEYS  1 set
-- ARGV  1 name
return redis.call('SADD', KEYS[1], ARGV[1])
