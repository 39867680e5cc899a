#!lua flags=allow-oom
-- leave: a producer or joiner stops waiting; those behind it may have room now.
-- use: wake
-- ARGV  1 waiter
-- reply OK
redis.call('ZREM', LINE, ARGV[1])
redis.call('HDEL', SEEN, ARGV[1])
redis.call('SREM', JOINERS, ARGV[1])
make_room(tonumber(redis.call('HGET', META, 'maxsize')) or 0)
return {'OK'}
