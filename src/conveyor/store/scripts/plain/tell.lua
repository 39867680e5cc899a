#!lua flags=allow-oom
-- tell: leave messages in a list that is gone some time after the last. A full server must still hear "stop".
-- KEYS  1 list
-- ARGV  1 how long it is kept, s; 2.. messages
redis.call('RPUSH', KEYS[1], unpack(ARGV, 2))
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 'OK'
