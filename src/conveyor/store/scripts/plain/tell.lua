#!lua flags=allow-oom
-- tell: leave a message in a list that is gone some time after the last. A full server must still hear "stop".
-- KEYS  1 list
-- ARGV  1 message; 2 how long it is kept, s
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 'OK'
