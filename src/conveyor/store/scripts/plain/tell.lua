#!lua flags=allow-oom
-- tell: append messages to a list that expires some time after the last, even if the server is full: "stop" must
-- arrive.
-- KEYS  1 list
-- ARGV  1 how long it is kept, s; 2.. messages
redis.call('RPUSH', KEYS[1], unpack(ARGV, 2))
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 'OK'
