#!lua flags=allow-oom
-- keep: set a value for some time, and list it, even if the server is full: what drains it must be able to continue.
-- KEYS  1 the value; 2 the list, if it is listed
-- ARGV  1 value; 2 how long it is kept, s; 3 score in the list; 4 name there; 5 max entries of the list
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
if KEYS[2] then
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[4])
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - tonumber(ARGV[5]))
end
return 'OK'
