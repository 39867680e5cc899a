#!lua flags=allow-oom
-- leave: a producer or joiner waits no longer; whoever stood behind it may have room now.
-- use: wake
-- ARGV  1 waiter
-- gives OK
redis.call('ZREM', LINE, ARGV[1])
redis.call('HDEL', SEEN, ARGV[1])
redis.call('SREM', JOINERS, ARGV[1])
make_room(tonumber(redis.call('HGET', META, 'maxsize')) or 0)
return {'OK'}
